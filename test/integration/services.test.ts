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
  serviceObject,
  servicesPath,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA, nodeB] = nodes;
const protocols = ['tcp', 'udp'] as const;

/** One way to a Service, and what the pods that answer see of the client. */
interface Path {
  readonly from: string;
  readonly address: string;
  readonly port: number;
  readonly sourceOf: (pod: PodState) => string;
}

describeLab('Services by every path', () => {
  let lab: Lab;
  let podOnA: PodState;
  let podOnB: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('svc'), mode: '' });
    [podOnA, podOnB] = lab.pods as [PodState, PodState];
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** Every path leads to all of these pods and nobody else, over TCP and UDP. */
  async function checkPaths(paths: readonly Path[], pods: readonly PodState[]): Promise<void> {
    const count = enoughFor(pods.length);
    const found = await Promise.all(
      paths.flatMap(({ from, address, port }) =>
        protocols.map(async protocol => [
          `${protocol} from ${from} to ${address}:${port}`,
          await ask(lab, from, { address, port, protocol, count }),
        ]),
      ),
    );
    const wanted = paths.flatMap(({ from, address, port, sourceOf }) =>
      protocols.map(protocol => [`${protocol} from ${from} to ${address}:${port}`, answers(pods, sourceOf)]),
    );
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(wanted));
  }

  test('a pod of either node keeps its address on the way to a cluster IP', async () => {
    const to = { address: web.clusterIP, port: web.port };
    const paths = [podOnA, podOnB].map(pod => ({ from: pod.name, ...to, sourceOf: fromPod(pod) }));
    await checkPaths(paths, lab.pods);
  });

  test('nodes and clients off the cluster are masqueraded on the way to a cluster IP', async () => {
    const to = { address: web.clusterIP, port: web.port };
    const fromNodes = nodes.map(node => ({ from: node.name, ...to, sourceOf: masqueradedAt(node) }));
    // The client's route to cluster IPs leads through the first node.
    await checkPaths([...fromNodes, { from: 'client', ...to, sourceOf: masqueradedAt(nodeA) }], lab.pods);
  });

  test('a nodePort answers on both nodes, off the cluster, for pods and for the nodes themselves', async () => {
    const paths = ['client', podOnA.name, podOnB.name, nodeA.name, nodeB.name].flatMap(from =>
      nodes.map(node => ({ from, address: node.address, port: web.nodePort, sourceOf: masqueradedAt(node) })),
    );
    await checkPaths(paths, lab.pods);
  });

  test('a nodePort answers on every address of the node', async () => {
    const { gateway: address } = nodeA;
    await checkPaths([{ from: podOnB.name, address, port: web.nodePort, sourceOf: masqueradedAt(nodeA) }], lab.pods);
  });

  test('a pod reaches itself when it is the only endpoint', async () => {
    const fields = { name: 'self', clusterIP: '10.96.1.1', ports: withNodePort(30101) };
    await createService(lab, fields, [endpoint(podOnA)]);
    await awaitUsed(lab, { service: 'default/self', pods: [podOnA] });
    const sourceOf = masqueradedAt(nodeA);
    const paths = [
      { address: '10.96.1.1', port: 80 },
      { address: nodeA.address, port: 30101 },
    ].map(to => ({ from: podOnA.name, ...to, sourceOf }));
    await checkPaths(paths, [podOnA]);
  });

  test('each port of a Service has its own endpoints, the same number over TCP and UDP too', async () => {
    const ports = [
      { name: 'one', port: 80 },
      { name: 'two', port: 81 },
      { name: 'one-udp', port: 80, protocol: 'UDP' },
    ] as const;
    const owners = lab.pods.slice(0, 3);
    await lab.api.create(servicesPath(), serviceObject({ name: 'multi', clusterIP: '10.96.1.2', ports }));
    for (const [index, port] of ports.entries()) {
      const slice = { name: `multi-${index}`, service: 'multi', ports: [port], endpoints: [endpoint(owners[index]!)] };
      await lab.api.create(slicesPath(), sliceObject(slice));
    }
    await awaitUsed(lab, { service: 'default/multi', pods: owners });
    for (const [index, { port, ...rest }] of ports.entries()) {
      const protocol = 'protocol' in rest ? 'udp' : 'tcp';
      const found = await ask(lab, podOnB.name, { address: '10.96.1.2', port, protocol, count: 10 });
      expect(found, `port ${port} ${protocol}`).toEqual(answers([owners[index]!], fromPod(podOnB)));
    }
  });

  test('without endpoints, connections are refused at once wherever they come from', async () => {
    const fields = { name: 'empty', clusterIP: '10.96.1.3', ports: withNodePort(30103) };
    await createService(lab, fields, []);
    await awaitUsed(lab, { service: 'default/empty', pods: [] });
    const froms = ['client', podOnA.name, podOnB.name, nodeA.name, nodeB.name];
    const targets = [{ address: '10.96.1.3', port: 80 }, ...nodes.map(({ address }) => ({ address, port: 30103 }))];
    // One of each: the kernel sends a peer six ICMP errors at once and then one a second (icmp(7), icmp_ratelimit). A lost SYN is
    // sent again after 1 s: an answer within less is one to the first.
    const outcome = await Promise.all(
      froms.map(async from => {
        const lines: string[] = [];
        for (const target of targets) {
          for (const protocol of protocols) {
            const [found] = await ask(lab, from, { ...target, protocol, timeoutMs: 900 });
            lines.push(`${found}: ${protocol} from ${from} to ${target.address}`);
          }
        }
        return lines;
      }),
    );
    expect(outcome.flat().filter(line => !line.startsWith('ECONNREFUSED'))).toEqual([]);
  });

  test('a Service that gets its first endpoint answers, one that loses its last refuses', async () => {
    const ports = bothProtocols.slice(0, 1);
    await createService(lab, { name: 'changing', clusterIP: '10.96.1.4', ports }, []);
    const target = { address: '10.96.1.4', port: 80, timeoutMs: 900 };
    for (const pods of [[], [podOnB], []]) {
      await lab.api.patch(`${slicesPath()}/changing`, { endpoints: pods.map(pod => endpoint(pod)) });
      await awaitUsed(lab, { service: 'default/changing', pods });
      const wanted = pods.length === 0 ? ['ECONNREFUSED'] : answers(pods, masqueradedAt(nodeB));
      expect(await ask(lab, nodeB.name, target)).toEqual(wanted);
    }
  });
});
