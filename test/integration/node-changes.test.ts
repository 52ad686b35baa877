import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { type NodeLayout, nodes, web } from '../../src/lab/layout.ts';
import { nodeObject, nodeStatus } from '../../src/lab/manifests.ts';
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
  eventually,
  fromPod,
  labName,
  logLines,
  masqueradedAt,
} from './daemon-lab.ts';

const [nodeA] = nodes;
const path = `/api/v1/nodes/${nodeA.name}`;
const clusterIP = { address: web.clusterIP, port: web.port, count: enoughFor(4) };

describeLab('a Node object that changes under a running daemon', () => {
  let lab: Lab;
  let onA: PodState;
  let onB: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('node'), mode: '' });
    [onA, onB] = lab.pods as [PodState, PodState];
    await lab.stopDaemon(nodeA.name);
    // Pods are known by the Node's podCIDR, NodePorts are taken on its address.
    const configuration = (text: string) =>
      `${text.replace(/^detectLocalMode:.*\n|^clusterCIDR:.*\n/gm, '')}\ndetectLocalMode: NodeCIDR\nnodePortAddresses: [primary]\n`;
    await lab.startDaemon(nodeA.name, { configuration });
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** What the daemon said about its node since `from` lines. */
  function said(from: number): string[] {
    const lines = logLines(lab, nodeA.name).slice(from);
    const facts = lines.filter(({ family, msg }) => family === 'IPv4' && /→/.test(msg));
    return facts.map(({ msg }) => msg);
  }

  const lineCount = () => logLines(lab, nodeA.name).length;

  /** From now on a pod of node-a is known as one (or isn't): it keeps its address (or doesn't). */
  const expectKnown = (isKnown: boolean) =>
    eventually(async () => {
      const sourceOf = isKnown ? fromPod(onA) : masqueradedAt(nodeA);
      expect(await ask(lab, onA.name, clusterIP)).toEqual(answers(lab.pods, sourceOf));
    });

  const podCIDRs = (cidr: string) => ({ spec: { podCIDR: cidr, podCIDRs: [cidr, nodeA.podCIDR6] } });

  test('another podCIDR: pods are recognised by it, and no connection is lost on the way', async () => {
    await using talk = await lab.talk(onA.name, web.clusterIP, web.port);
    const targets = [{ address: web.clusterIP, port: web.port }];
    await using traffic = await lab.traffic(onA.name, { targets, connectionsPerSecond: 50, held: 4 });
    const before = lineCount();
    await expectKnown(true);
    await lab.api.patch(path, podCIDRs('10.244.9.0/24'));
    await expectKnown(false);
    await lab.api.patch(path, podCIDRs(nodeA.podCIDR));
    await expectKnown(true);
    const way = (from: string, to: string) => `pods are recognised by: source ${from} → source ${to}`;
    expect(said(before)).toEqual([way(nodeA.podCIDR, '10.244.9.0/24'), way('10.244.9.0/24', nodeA.podCIDR)]);
    expect(await talk.say('still here')).toBe('still here');
    expect((await traffic.stop()).failures).toEqual([]);
  });

  test('another address: NodePorts move to it, connections by the old one live on', async () => {
    const before = lineCount();
    const old = { address: nodeA.address, port: web.nodePort, timeoutMs: 900, count: enoughFor(4) };
    const next = { ...old, address: nodeA.gateway };
    const reached = answers(lab.pods, masqueradedAt(nodeA));
    expect(await ask(lab, onB.name, old)).toEqual(reached);
    expect(await ask(lab, onB.name, next)).toEqual(['ECONNREFUSED']);
    await using talk = await lab.talk('client', nodeA.address, web.nodePort);
    const status = (node: NodeLayout) => ({ status: nodeStatus(node, { hasIPv6: lab.hasIPv6 }) });
    await lab.api.patch(`${path}/status`, status({ ...nodeA, address: nodeA.gateway }));
    await eventually(async () => expect(await ask(lab, onB.name, next)).toEqual(reached));
    expect(await ask(lab, 'client', { ...old, count: 1 })).toEqual(['ECONNREFUSED']);
    expect(await talk.say('by the old address')).toBe('by the old address');
    await lab.api.patch(`${path}/status`, status(nodeA));
    await eventually(async () => expect(await ask(lab, 'client', old)).toEqual(reached));
    const way = (from: string, to: string) => [
      `addresses for NodePorts: ${from}/32 → ${to}/32`,
      `the node's address: ${from} → ${to}`,
    ];
    expect(said(before)).toEqual([...way(nodeA.address, nodeA.gateway), ...way(nodeA.gateway, nodeA.address)]);
  });

  test('another zone: new connections follow the hints for it, established ones stay', async () => {
    const hinted = (pod: PodState, zone: string) => ({ ...endpoint(pod), hints: { forZones: [{ name: zone }] } });
    const fields = { name: 'zoned', clusterIP: '10.96.6.1', ports: bothProtocols };
    await createService(lab, fields, [hinted(onA, 'zone-a'), hinted(onB, 'zone-b')]);
    await awaitUsed(lab, { service: 'default/zoned', pods: [onA], on: [nodeA.name] });
    await using talk = await lab.talk(nodeA.name, '10.96.6.1', 80);
    expect(talk.peer.pod).toBe(onA.name);
    const before = lineCount();
    await lab.api.patch(path, { metadata: { labels: { 'topology.kubernetes.io/zone': 'zone-b' } } });
    await awaitUsed(lab, { service: 'default/zoned', pods: [onB], on: [nodeA.name] });
    const to = { address: '10.96.6.1', port: 80, count: 20 };
    expect(await ask(lab, nodeA.name, to)).toEqual(answers([onB], masqueradedAt(nodeA)));
    expect(await talk.say('in the old zone')).toBe('in the old zone');
    await lab.api.patch(path, { metadata: { labels: { 'topology.kubernetes.io/zone': null } } });
    await awaitUsed(lab, { service: 'default/zoned', pods: [onA, onB], on: [nodeA.name] });
    await lab.api.patch(path, { metadata: { labels: { 'topology.kubernetes.io/zone': nodeA.zone } } });
    await awaitUsed(lab, { service: 'default/zoned', pods: [onA], on: [nodeA.name] });
    expect(said(before)).toEqual([
      'zone of this node: zone-a → zone-b',
      'zone of this node: zone-b → none',
      'zone of this node: none → zone-a',
    ]);
  });

  test('a Node that is deleted leaves the rules as they are; the one that comes in its place is followed', async () => {
    const targets = [
      { address: web.clusterIP, port: web.port },
      { address: nodeA.address, port: web.nodePort },
    ];
    await using traffic = await lab.traffic(onA.name, { targets, connectionsPerSecond: 50, held: 4 });
    const before = lineCount();
    await lab.api.delete(path);
    // A change that is programmed after the deletion: what it shows is not just an event that is still to come.
    const fields = { name: 'meanwhile', clusterIP: '10.96.6.2', ports: bothProtocols };
    await createService(lab, fields, [endpoint(onB)]);
    await awaitUsed(lab, { service: 'default/meanwhile', pods: [onB] });
    expect(await ask(lab, onA.name, { ...clusterIP, address: '10.96.6.2' })).toEqual(answers([onB], fromPod(onA)));
    await expectKnown(true);
    expect(said(before)).toEqual([]);

    const node = nodeObject({ ...nodeA, podCIDR: '10.244.9.0/24' }, { hasIPv6: lab.hasIPv6 });
    await lab.api.create('/api/v1/nodes', node);
    await expectKnown(false);
    await lab.api.patch(path, podCIDRs(nodeA.podCIDR));
    await expectKnown(true);
    expect(said(before)).toHaveLength(2);
    expect((await traffic.stop()).failures).toEqual([]);
  });
});
