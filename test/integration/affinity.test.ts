import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clientAddress, clientAddress6, nodes } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  awaitUsed,
  describeLab,
  endpoint,
  endpoint6,
  labName,
  serviceObject,
  servicesPath,
  setEndpoints,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA] = nodes;
const FAMILIES = {
  IPv4: {
    at: 'ip',
    node: nodeA.address,
    client: clientAddress,
    of: endpoint,
    clusterIP: (n: number) => `10.96.4.${n}`,
  },
  IPv6: {
    at: 'ip6',
    node: nodeA.address6,
    client: clientAddress6,
    of: endpoint6,
    clusterIP: (n: number) => `fd00:10:96::40${n}`,
  },
} as const;
type Family = keyof typeof FAMILIES;

describeLab('session affinity', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('aff') });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** A Service with affinity in one family whose endpoints are `pods`; `n` makes its addresses. */
  async function create(
    family: Family,
    n: number,
    { timeoutSeconds, pods }: { timeoutSeconds: number; pods: readonly PodState[] },
  ) {
    const name = `sticky-${family.toLowerCase()}-${n}`;
    const clusterIP = FAMILIES[family].clusterIP(n);
    const nodePort = 30_400 + n + (family === 'IPv6' ? 50 : 0);
    const ports = withNodePort(nodePort);
    const sessionAffinityConfig = { clientIP: { timeoutSeconds } };
    const spec = { clusterIPs: [clusterIP], ipFamilies: [family], sessionAffinity: 'ClientIP', sessionAffinityConfig };
    await lab.api.create(servicesPath(), serviceObject({ name, clusterIP, ports, spec }));
    const endpoints = pods.map(pod => FAMILIES[family].of(pod));
    await lab.api.create(slicesPath(), sliceObject({ name, ports, endpoints, addressType: family }));
    const reach = (used: readonly PodState[]) => awaitUsed(lab, { service: `default/${name}`, pods: used, family });
    await reach(pods);
    const use = async (used: readonly PodState[]) => {
      await setEndpoints(
        lab,
        name,
        used.map(pod => FAMILIES[family].of(pod)),
      );
      await reach(used);
    };
    return { clusterIP, nodePort, use };
  }

  /**
   * Who answers a member over many connections. The first goes alone: connections that begin at the same moment may each choose, since
   * none has been noted yet.
   */
  async function answeredBy(from: string, to: { address: string; port: number; protocol: 'tcp' | 'udp' }, count = 50) {
    const first = await lab.probe(from, to);
    const rest = await lab.probe(from, { ...to, count: count - 1 });
    expect([...first.failures, ...rest.failures]).toEqual([]);
    return [...new Set([...first.replies, ...rest.replies].map(({ pod }) => pod))];
  }

  describe.each(['IPv4', 'IPv6'] as const)('in %s', family => {
    const { node } = FAMILIES[family];

    test('a client stays with one pod by every address, and endpoints that come and go elsewhere do not move it', async () => {
      const [extra, ...pods] = lab.pods as [PodState, ...PodState[]];
      const { clusterIP, nodePort, use } = await create(family, 1, { timeoutSeconds: 600, pods });
      for (const protocol of ['tcp', 'udp'] as const) {
        const inside = { address: clusterIP, port: 80, protocol };
        // Both ways into the same node: the list of clients is a node's own.
        const outside = { address: node, port: nodePort, protocol };
        const chosen = await answeredBy('client', inside);
        expect(chosen).toHaveLength(1);
        expect(await answeredBy('client', outside)).toEqual(chosen);
        const kept = pods.filter(({ name }) => chosen.includes(name));
        await use([extra, ...pods]);
        expect(await answeredBy('client', inside)).toEqual(chosen);
        await use([extra, ...kept]);
        expect(await answeredBy('client', outside)).toEqual(chosen);
        await use(pods);
        expect(await answeredBy('client', inside)).toEqual(chosen);
      }
    });

    test('a pod and the node itself stay too, and a restarted daemon forgets nobody', async () => {
      const { clusterIP } = await create(family, 2, { timeoutSeconds: 600, pods: lab.pods });
      const members = [nodeA.name, lab.pods.find(pod => pod.node === nodeA.name)!.name];
      const to = { address: clusterIP, port: 80, protocol: 'tcp' } as const;
      const before = await Promise.all(members.map(member => answeredBy(member, to)));
      for (const pods of before) expect(pods).toHaveLength(1);
      await lab.restartDaemon(nodeA.name);
      expect(await Promise.all(members.map(member => answeredBy(member, to)))).toEqual(before);
    });

    test('a client moves at once when its endpoint goes, and then stays where it is', async () => {
      const { clusterIP, use } = await create(family, 3, { timeoutSeconds: 600, pods: lab.pods });
      const to = { address: clusterIP, port: 80, protocol: 'tcp' } as const;
      let left: readonly PodState[] = lab.pods;
      while (left.length > 1) {
        const [pod, ...others] = await answeredBy('client', to, 20);
        expect(others).toEqual([]);
        expect(left.map(({ name }) => name)).toContain(pod);
        left = left.filter(({ name }) => name !== pod);
        await use(left);
      }
      expect(await answeredBy('client', to, 20)).toEqual([left[0]!.name]);
    });

    test('a client that was away for longer than the timeout may get another pod', async () => {
      const { clusterIP } = await create(family, 4, { timeoutSeconds: 1, pods: lab.pods });
      const seen = new Set<string>();
      // Each try after a second away chooses among all: twenty that end at one pod come once in 4^19 times.
      for (let attempt = 0; attempt < 20 && seen.size < 2; attempt += 1) {
        const { replies } = await lab.probe('client', { address: clusterIP, port: 80 });
        seen.add(replies[0]!.pod);
        await new Promise(resolve => setTimeout(resolve, 1100));
      }
      expect(seen.size).toBe(2);
    });
  });

  test('with iptables-legacy too, a client stays, and moves when its endpoint goes', async () => {
    const ours = '---\napiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\niptables: { variant: legacy }\n';
    for (const { name } of nodes) {
      await lab.stopDaemon(name);
      await lab.startDaemon(name, { configuration: text => text + ours });
    }
    for (const family of ['IPv4', 'IPv6'] as const) {
      const { clusterIP, nodePort, use } = await create(family, 5, { timeoutSeconds: 600, pods: lab.pods });
      const inside = { address: clusterIP, port: 80, protocol: 'tcp' } as const;
      const chosen = await answeredBy('client', inside);
      expect(chosen).toHaveLength(1);
      expect(await answeredBy('client', { ...inside, address: FAMILIES[family].node, port: nodePort })).toEqual(chosen);
      const [first, ...others] = lab.pods.filter(({ name }) => !chosen.includes(name));
      await use([first!, ...lab.pods.filter(({ name }) => chosen.includes(name))]);
      expect(await answeredBy('client', inside)).toEqual(chosen);
      await use([first!, ...others]);
      const next = await answeredBy('client', inside);
      expect(next).toHaveLength(1);
      expect(next).not.toEqual(chosen);
    }
  });
});
