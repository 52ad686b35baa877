/** How the nftables mode chooses: by chance and weight, by the client's address, by what it remembers; and whom it keeps out. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clientAddress, nodes } from '../../src/lab/layout.ts';
import {
  ask,
  awaitUsed,
  createService,
  describeLab,
  endpoint,
  eventually,
  labName,
  logLines,
  servicesPath,
  setEndpoints,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA] = nodes;
const on = [nodeA.name];
const DICE = 2000;

describeLab('how an endpoint is chosen in the nftables mode', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('nfto'), mode: 'nftables', daemons: false });
    await lab.startDaemon(nodeA.name);
  });
  afterAll(async () => {
    await lab.close();
  });

  async function create(name: string, index: number, extra: object): Promise<{ clusterIP: string; nodePort: number }> {
    const [clusterIP, nodePort] = [`10.96.7.${index}`, 30_700 + index];
    const fields = { name, clusterIP, ports: withNodePort(nodePort), ...extra };
    await createService(
      lab,
      fields,
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: `default/${name}`, pods: lab.pods, on });
    return { clusterIP, nodePort };
  }

  test('each pod has its part, weighted where that is asked for', async () => {
    const { clusterIP } = await create('weighted', 1, {
      annotations: { 'kproxy-ts.dev/endpoint-weights': `${lab.pods[0]!.ip}=5, ${lab.pods[1]!.ip}=0` },
    });
    const { replies, failures } = await lab.probe(nodeA.name, { address: clusterIP, port: 80, count: DICE });
    expect(failures).toEqual([]);
    const parts = lab.pods.map(({ name }) => replies.filter(({ pod }) => pod === name).length / DICE);
    // Seven slots: five, none, one, one. Six standard deviations on either side.
    const [five = 0, none, ...one] = parts;
    expect(none).toBe(0);
    expect(Math.abs(five - 5 / 7)).toBeLessThan(0.061);
    for (const part of one) expect(Math.abs(part - 1 / 7)).toBeLessThan(0.047);
  });

  test('with a source hash a client keeps its pod, by all addresses, also while another pod comes and goes', async () => {
    const annotations = { 'kproxy-ts.dev/load-balancing': 'source-hash' };
    const { clusterIP } = await create('hashed', 2, { annotations });
    const podsOf = async (from: string) => {
      const { replies, failures } = await lab.probe(from, { address: clusterIP, port: 80, count: 60 });
      expect(failures).toEqual([]);
      return [...new Set(replies.map(({ pod }) => pod))];
    };
    const clients = lab.pods.filter(({ node }) => node === nodeA.name).map(({ name }) => name);
    const before = await Promise.all(clients.map(podsOf));
    for (const pods of before) expect(pods).toHaveLength(1);
    // One that none of them has.
    const gone = lab.pods.find(({ name }) => !before.flat().includes(name))!;
    const left = lab.pods.filter(pod => pod !== gone);
    await setEndpoints(
      lab,
      'hashed',
      left.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/hashed', pods: left, on });
    const after = await Promise.all(clients.map(podsOf));
    for (const pods of after) expect(pods).toHaveLength(1);
    // The bound is 1.3/n of all clients; here are two.
    expect(after.filter((pods, i) => pods[0] !== before[i]?.[0]).length).toBeLessThanOrEqual(1);
  });

  test('a remembered client has one pod by cluster IP and NodePort, and another when that goes', async () => {
    const affinity = { spec: { sessionAffinity: 'ClientIP' } };
    const { clusterIP, nodePort } = await create('sticky', 3, affinity);
    const pod = lab.pods[0]!.name;
    const both = async () => {
      const names = new Set<string>();
      for (const to of [
        { address: clusterIP, port: 80 },
        { address: nodeA.address, port: nodePort },
      ]) {
        const { replies, failures } = await lab.probe(pod, { ...to, count: 40, concurrency: 1 });
        expect(failures).toEqual([]);
        for (const reply of replies) names.add(reply.pod);
      }
      return [...names];
    };
    const [first, ...more] = await both();
    expect(more).toEqual([]);
    const left = lab.pods.filter(({ name }) => name !== first);
    await setEndpoints(
      lab,
      'sticky',
      left.map(each => endpoint(each)),
    );
    await awaitUsed(lab, { service: 'default/sticky', pods: left, on });
    const second = await both();
    expect(second).toHaveLength(1);
    expect(second).not.toContain(first);
    // Its return doesn't call the client back.
    await setEndpoints(
      lab,
      'sticky',
      lab.pods.map(each => endpoint(each)),
    );
    await awaitUsed(lab, { service: 'default/sticky', pods: lab.pods, on });
    expect(await both()).toEqual(second);
  });

  test('NodePorts take only the sources that the annotation allows; one that cannot be read is named', async () => {
    const { nodePort } = await create('guarded', 4, {
      annotations: { 'kproxy-ts.dev/node-port-source-ranges': `${clientAddress}/32, 192.168.77.0/29` },
    });
    const to = { address: nodeA.address, port: nodePort };
    expect((await lab.probe('client', { ...to, count: 10 })).failures).toEqual([]);
    expect(await ask(lab, lab.pods[0]!.name, { ...to, count: 3, timeoutMs: 600 })).toEqual(['timeout']);
    await lab.api.patch(`${servicesPath()}/guarded`, {
      metadata: {
        annotations: { 'kproxy-ts.dev/load-balancing': 'by magic', 'kproxy-ts.dev/node-port-source-ranges': null },
      },
    });
    await eventually(async () =>
      expect((await lab.probe(lab.pods[0]!.name, { ...to, timeoutMs: 600 })).failures).toEqual([]),
    );
    await eventually(() =>
      expect(
        logLines(lab, nodeA.name).some(({ msg }) => msg.includes('load-balancing') && msg.includes('guarded')),
      ).toBe(true),
    );
  });
});
