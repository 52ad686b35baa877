import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clientAddress, nodes } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  answers,
  ask,
  awaitGone,
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  enoughFor,
  eventually,
  fromPod,
  labName,
  logLines,
  masqueradedAt,
  servicesPath,
  setEndpoints,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA, nodeB] = nodes;
const protocols = ['tcp', 'udp'] as const;
/** How often and how long to try where nobody shall answer; of refusals the kernel sends a peer six at once, then one a second. */
const efforts: Readonly<Record<string, object>> = {
  timeout: { count: 4, timeoutMs: 600 },
  ECONNREFUSED: { count: 1, timeoutMs: 900 },
};

describeLab('traffic policies and contested addresses', () => {
  let lab: Lab;
  let onA: PodState[];
  let onB: PodState[];

  beforeAll(async () => {
    lab = await createLab({ name: labName('pol'), mode: '' });
    onA = lab.pods.filter(pod => pod.node === nodeA.name);
    onB = lab.pods.filter(pod => pod.node === nodeB.name);
  });
  afterAll(async () => {
    await lab.close();
  });

  /** From each of these members over TCP and UDP: these outcomes. */
  async function check(
    rows: readonly (readonly [from: string, wanted: string[]])[],
    to: { address: string; port: number },
  ) {
    const count = enoughFor(lab.pods.length);
    // A UDP flow is remembered for up to two minutes: a probe that happens to get the port of an earlier one would follow it.
    for (const node of nodes) await lab.exec(node.name, ['conntrack', '-F']);
    const found = await Promise.all(
      rows.flatMap(([from, wanted]) =>
        protocols.map(async protocol => {
          const effort = efforts[wanted[0] ?? ''] ?? { count };
          return [`${from} ${protocol}`, await ask(lab, from, { ...to, protocol, ...effort })];
        }),
      ),
    );
    const wanted = rows.flatMap(([from, outcome]) => protocols.map(protocol => [`${from} ${protocol}`, outcome]));
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(wanted));
  }

  test('internal policy Local: pods and the node use local endpoints only, without any the packets are dropped', async () => {
    const spec = { internalTrafficPolicy: 'Local' };
    const to = { address: '10.96.2.1', port: 80 };
    const fields = { name: 'inside', clusterIP: to.address, ports: bothProtocols, spec };
    await createService(
      lab,
      fields,
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/inside', pods: onA, on: [nodeA.name] });
    await awaitUsed(lab, { service: 'default/inside', pods: onB, on: [nodeB.name] });
    const fromA = [onA[0]!.name, answers(onA, fromPod(onA[0]!))] as const;
    await check([fromA, [nodeA.name, answers(onA, masqueradedAt(nodeA))]], to);
    await check([[onB[0]!.name, answers(onB, fromPod(onB[0]!))]], to);

    await setEndpoints(
      lab,
      'inside',
      onA.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/inside', pods: [], on: [nodeB.name] });
    await check([fromA, [onB[0]!.name, ['timeout']], [nodeB.name, ['timeout']]], to);
  });

  test('external policy Local: outside clients keep their address and reach local endpoints only', async () => {
    const spec = { externalTrafficPolicy: 'Local' };
    const fields = { name: 'outside', clusterIP: '10.96.2.2', ports: withNodePort(30202), spec };
    await createService(
      lab,
      fields,
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/outside', pods: lab.pods });
    const client = () => clientAddress;
    await check([['client', answers(onA, client)]], { address: nodeA.address, port: 30202 });
    await check([['client', answers(onB, client)]], { address: nodeB.address, port: 30202 });

    await setEndpoints(
      lab,
      'outside',
      onA.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/outside', pods: onA });
    await check([['client', answers(onA, client)]], { address: nodeA.address, port: 30202 });
    await check([['client', ['timeout']]], { address: nodeB.address, port: 30202 });
    // Nothing local, and yet: pods and the node itself may use every endpoint.
    await check(
      [
        [nodeB.name, answers(onA, masqueradedAt(nodeB))],
        [onB[0]!.name, answers(onA, fromPod(onB[0]!))],
      ],
      { address: nodeB.address, port: 30202 },
    );
    // The policy is for outside traffic only: the cluster IP leads everywhere.
    await check([[onB[0]!.name, answers(onA, fromPod(onB[0]!))]], { address: '10.96.2.2', port: 80 });

    await setEndpoints(lab, 'outside', []);
    await awaitUsed(lab, { service: 'default/outside', pods: [] });
    await check([['client', ['ECONNREFUSED']]], { address: nodeB.address, port: 30202 });
  });

  test('of two Services that claim an external IP the older has it, and the younger takes over when that goes', async () => {
    const externalIPs = ['198.51.100.1'];
    const target = { address: '198.51.100.1', port: 80, count: 20 };
    const ports = bothProtocols.slice(0, 1);
    await lab.exec('client', ['ip', 'route', 'add', '198.51.100.0/24', 'via', nodeA.address]);
    const older = { name: 'z-older', clusterIP: '10.96.2.3', ports, spec: { externalIPs } };
    await createService(lab, older, [endpoint(onA[0]!)]);
    // Ages are whole seconds; of the same age, the name would decide.
    const { body } = await lab.api.get(`${servicesPath()}/z-older`);
    const created = Date.parse(String(body.metadata.creationTimestamp));
    await eventually(() => expect(Date.now()).toBeGreaterThanOrEqual(created + 1000));
    const younger = { ...older, name: 'a-younger', clusterIP: '10.96.2.4' };
    await createService(lab, younger, [endpoint(onB[0]!)]);
    await awaitUsed(lab, { service: 'default/z-older', pods: [onA[0]!] });
    await awaitUsed(lab, { service: 'default/a-younger', pods: [onB[0]!] });

    const sourceOf = masqueradedAt(nodeA);
    expect(await ask(lab, 'client', target)).toEqual(answers([onA[0]!], sourceOf));
    expect(await ask(lab, nodeA.name, { address: '10.96.2.4', port: 80 })).toEqual(answers([onB[0]!], sourceOf));
    for (const { name } of nodes) {
      const lines = logLines(lab, name).filter(({ msg }) => msg.includes('198.51.100.1'));
      expect(lines.map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
        'warn: 198.51.100.1 80/TCP belongs to default/z-older:tcp; also claimed by default/a-younger:tcp',
      ]);
    }

    await lab.api.delete(`${servicesPath()}/z-older`);
    await awaitGone(lab, 'default/z-older');
    await awaitUsed(lab, { service: 'default/a-younger', pods: [onB[0]!] });
    expect(await ask(lab, 'client', target)).toEqual(answers([onB[0]!], sourceOf));
  });
});
