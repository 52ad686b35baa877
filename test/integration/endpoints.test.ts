import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  answers,
  ask,
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  enoughFor,
  fromPod,
  labName,
  masqueradedAt,
  readDump,
  setEndpoints,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA, nodeB] = nodes;
const tcp = bothProtocols.slice(0, 1);

describeLab('endpoints that come and go', () => {
  let lab: Lab;
  let first: PodState;
  let second: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('ep'), mode: '' });
    [first, second] = lab.pods as [PodState, PodState];
  });
  afterAll(async () => {
    await lab.close();
  });

  /** Exactly these pods answer at the address, on both nodes. */
  async function expectPods(address: string, pods: readonly PodState[]): Promise<void> {
    const target = { address, port: 80, count: enoughFor(Math.max(pods.length, 1)), timeoutMs: 900 };
    const found = await Promise.all([first, second].map(from => ask(lab, from.name, target)));
    expect(found).toEqual([first, second].map(from => answers(pods, fromPod(from))));
  }

  test('a removed endpoint gets no new connection, the established ones to it live on', async () => {
    const fields = { name: 'moved', clusterIP: '10.96.3.1', ports: withNodePort(30301) };
    await createService(lab, fields, [endpoint(second)]);
    await awaitUsed(lab, { service: 'default/moved', pods: [second] });
    await using inside = await lab.talk(first.name, '10.96.3.1', 80);
    await using outside = await lab.talk('client', nodeA.address, 30301);
    expect([inside.peer.pod, outside.peer.pod]).toEqual([second.name, second.name]);

    await setEndpoints(lab, 'moved', [endpoint(first)]);
    await awaitUsed(lab, { service: 'default/moved', pods: [first] });
    await expectPods('10.96.3.1', [first]);
    const nodePort = { address: nodeA.address, port: 30301, count: 100 };
    expect(await ask(lab, 'client', nodePort)).toEqual(answers([first], masqueradedAt(nodeA)));
    expect(await inside.say('still here')).toBe('still here');
    expect(await outside.say('here too')).toBe('here too');

    await setEndpoints(lab, 'moved', [endpoint(first), endpoint(second)]);
    await awaitUsed(lab, { service: 'default/moved', pods: [first, second] });
    await expectPods('10.96.3.1', [first, second]);
    expect(await inside.say('and now')).toBe('and now');
  });

  test('an established connection outlives even its Service', async () => {
    await createService(lab, { name: 'deleted', clusterIP: '10.96.3.2', ports: tcp }, [endpoint(second)]);
    await awaitUsed(lab, { service: 'default/deleted', pods: [second] });
    await using talk = await lab.talk(first.name, '10.96.3.2', 80);
    await lab.api.delete('/api/v1/namespaces/default/services/deleted');
    await expect
      .poll(() => ask(lab, first.name, { address: '10.96.3.2', port: 80, timeoutMs: 300 }), { timeout: 10_000 })
      .toEqual(['timeout']);
    expect(await talk.say('without rules')).toBe('without rules');
  });

  test('an endpoint that terminates but still serves is used only while none is ready', async () => {
    const draining = { ready: false, serving: true, terminating: true };
    const steps = [
      { endpoints: [endpoint(first), endpoint(second)], pods: [first, second] },
      { endpoints: [endpoint(first), endpoint(second, draining)], pods: [first] },
      { endpoints: [endpoint(first, { ready: false }), endpoint(second, draining)], pods: [second] },
      { endpoints: [endpoint(first, draining), endpoint(second, draining)], pods: [first, second] },
      { endpoints: [endpoint(first), endpoint(second, { ...draining, serving: false })], pods: [first] },
    ];
    await createService(lab, { name: 'draining', clusterIP: '10.96.3.3', ports: tcp }, []);
    for (const { endpoints, pods } of steps) {
      await setEndpoints(lab, 'draining', endpoints);
      await awaitUsed(lab, { service: 'default/draining', pods });
      await expectPods('10.96.3.3', pods);
    }
    await setEndpoints(lab, 'draining', [endpoint(second, { ...draining, serving: false })]);
    await awaitUsed(lab, { service: 'default/draining', pods: [] });
    expect(await ask(lab, first.name, { address: '10.96.3.3', port: 80, timeoutMs: 900 })).toEqual(['ECONNREFUSED']);
  });

  test('an endpoint in two slices counts once, and stays until it has left both', async () => {
    const service = 'double';
    const slice = (name: string, pods: readonly PodState[]) =>
      sliceObject({ name, service, ports: tcp, endpoints: pods.map(pod => endpoint(pod)) });
    await createService(lab, { name: service, clusterIP: '10.96.3.4', ports: tcp }, [
      endpoint(first),
      endpoint(second),
    ]);
    await lab.api.create(slicesPath(), slice('double-2', [first]));
    await awaitUsed(lab, { service: 'default/double', pods: [first, second] });
    await expectPods('10.96.3.4', [first, second]);
    const dump = await readDump(lab, nodeB.name);
    const ports = dump.families.flatMap(family => family.services.filter(({ name }) => name === service));
    expect(ports.map(({ endpoints }) => endpoints.map(({ ip }) => ip))).toEqual([[first.ip, second.ip]]);

    await setEndpoints(lab, 'double', [endpoint(second)]);
    await awaitUsed(lab, { service: 'default/double', pods: [first, second] });
    await expectPods('10.96.3.4', [first, second]);
    await lab.api.delete(`${slicesPath()}/double-2`);
    await awaitUsed(lab, { service: 'default/double', pods: [second] });
    await expectPods('10.96.3.4', [second]);
  });

  test('no connection of many fails while pods come and go', async () => {
    const stop = { count: 1_000_000, concurrency: 2, deadlineMs: 2500 };
    const running = await Promise.all([
      lab.startProbe(first.name, { address: web.clusterIP, port: web.port, ...stop }),
      lab.startProbe('client', { address: nodeB.address, port: web.nodePort, ...stop }),
    ]);
    const { pod } = await lab.addPod(nodeB.name);
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
    await lab.removePod(pod.name, { keepRunning: true });
    await awaitUsed(lab, {
      service: 'default/web',
      pods: lab.pods.filter(({ name }) => name !== pod.name),
    });
    for (const { report } of running) {
      const { replies, failures } = await report;
      expect(failures).toEqual([]);
      expect(replies.length).toBeGreaterThan(10);
    }
  });
});
