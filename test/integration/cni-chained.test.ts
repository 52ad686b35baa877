/** Interfaces that stock plugins make, with this one behind them: what it adds is the pod's, and changes nothing for others. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, CniNode, DUAL, kproxyCni, outside } from './cni-node.ts';
import { Echo, who } from './cni-packets.ts';

const STOCK = '/usr/lib/cni';
const FAR = '192.0.2.9';
const NODE = '192.0.2.1';
const tcp = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const mappings = (...list: readonly object[]) => ({ runtimeConfig: { portMappings: list } });
const KINDS = ['nftables', 'iptables'] as const;

describe.each(KINDS)('behind stock plugins, rules in %s', rules => {
  let node: CniNode;
  let far: string;
  let pods: string[];
  const echoes: Echo[] = [];

  beforeAll(async () => {
    node = await CniNode.start(`chn${rules.slice(0, 3)}`, DUAL, rules === 'iptables' ? { rules } : {});
    far = await outside(node);
    pods = await Promise.all(['one', 'two'].map(name => node.pod(name)));
    for (const [index, pod] of pods.entries()) echoes.push(await Echo.start(node.nameOf(pod), `pod${index}`));
    echoes.push(await Echo.start(far, 'outside'));
  });
  afterEach(async () => {
    for (const [index, pod] of pods.entries()) await node.del(pod, { id: `c${index}` });
    expect(await node.residue()).toEqual([]);
  });
  afterAll(async () => {
    for (const echo of echoes) await echo[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
  });

  const inside = (index: number) => node.nameOf(pods[index]!);
  /** Calls one plugin of a list for the second pod. */
  const call = async (verb: string, type: string, config: object): Promise<Answer> => {
    const stdin = JSON.stringify({
      cniVersion: '1.0.0',
      name: 'kp',
      type,
      ...config,
      kproxyRuntimeDir: node.directory,
    });
    const program = type === 'kproxy-cni' ? kproxyCni : join(STOCK, type);
    const answer = await node.call({ verb, id: 'c1', pod: pods[1]!, program, path: STOCK, stdin });
    expect([answer.status, answer.message]).toEqual([0, '']);
    return answer;
  };
  const ipam = (range: object) => ({
    type: 'host-local',
    dataDir: join(node.directory, 'host-local'),
    ranges: [[range]],
  });

  /** What others see of the first pod, and the first pod of them. */
  const seen = async () => [
    await who(inside(0), { address: FAR, port: 80 }),
    await who(far, { address: NODE, port: 8080 }),
    await who(inside(0), { address: NODE, port: 8080 }),
  ];

  test("A19: a pod on the node's LAN changes nothing for the other pods on their way there", async () => {
    const first = await node.add(pods[0]!, { id: 'c0', config: mappings(tcp) });
    expect(first.status).toBe(0);
    const before = [`outside ${NODE}`, `pod0 ${FAR}`, 'pod0 10.88.0.1'];
    expect(await seen()).toEqual(before);
    const range = { subnet: '192.0.2.0/24', rangeStart: '192.0.2.100', rangeEnd: '192.0.2.110' };
    const macvlan = { master: 'out0', ipam: ipam(range) };
    const made = await call('ADD', 'macvlan', macvlan);
    const ports = mappings({ ...tcp, hostPort: 9090 });
    await call('ADD', 'kproxy-cni', { ...ports, prevResult: made.result });
    expect(await seen()).toEqual(before);
    await node.stopAgent();
    await node.startAgent();
    expect(await seen()).toEqual(before);
    await call('DEL', 'kproxy-cni', {});
    await call('DEL', 'macvlan', macvlan);
    const bridged = {
      bridge: 'lan',
      ipMasq: false,
      isDefaultGateway: false,
      ipam: { type: 'kproxy-cni', ranges: [[range]] },
    };
    const own = await node.add(pods[1]!, { id: 'c1', config: { name: 'lan', ...bridged, ...ports } });
    expect(own.status).toBe(0);
    expect(await seen()).toEqual(before);
    await node.del(pods[1]!, { id: 'c1', config: { name: 'lan' } });
  });

  const range77 = { subnet: '10.77.0.0/24' };
  const STOCKS = [
    ['bridge', { bridge: 'stock0', isDefaultGateway: true, hairpinMode: true }, {}],
    ['ptp', {}, { routes: [{ dst: '0.0.0.0/0' }] }],
  ] as const;
  test.each(STOCKS)(
    'P01, P09: behind %s a hostPort is reached from everywhere, 127.0.0.1 too',
    async (type, fields, routes) => {
      const config = { ...fields, ipam: { ...ipam(range77), ...routes } };
      const made = await call('ADD', type, config);
      const link = made.result.interfaces!.find(({ sandbox }) => (sandbox ?? '') === '')!.name;
      const localnet = () => node.exec(['sysctl', '-n', `net.ipv4.conf.${link}.route_localnet`]);
      expect((await localnet()).stdout.trim()).toBe('0');
      await call('ADD', 'kproxy-cni', { ...mappings(tcp), ipMasq: true, prevResult: made.result });
      const reached = async () => {
        expect(await who(far, { address: NODE, port: 8080 })).toBe(`pod1 ${FAR}`);
        expect(await who(node.netns, { address: '127.0.0.1', port: 8080 })).toBe('pod1 10.77.0.1');
        expect(await who(inside(1), { address: NODE, port: 8080 })).toBe('pod1 10.77.0.1');
        expect(await who(inside(1), { address: FAR, port: 80 })).toBe(`outside ${NODE}`);
      };
      await reached();
      await node.stopAgent();
      await node.startAgent();
      await reached();
      await call('DEL', 'kproxy-cni', {});
      expect((await localnet()).stdout.trim()).toBe('0');
      expect(await who(node.netns, { address: '127.0.0.1', port: 8080 })).toBe('ECONNREFUSED');
      await call('DEL', type, config);
      if (type === 'bridge') await node.exec(['ip', 'link', 'del', link]);
    },
  );
});
