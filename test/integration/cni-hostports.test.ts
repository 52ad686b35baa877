import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ipFamily } from '../../src/net/ip.ts';
import { CniNode, DUAL, outside } from './cni-node.ts';
import { Echo, who } from './cni-packets.ts';

const NODE = { IPv4: '192.0.2.1', IPv6: '2001:db8::1' };
const GATEWAYS = ['10.88.0.1', 'fd00:88::1'];
/** Of which the middle one counts. */
const LINKS = 5;
const mappings = (...list: readonly object[]) => ({ runtimeConfig: { portMappings: list } });
const tcp = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const udp = { ...tcp, protocol: 'udp' };

describe('packets of pods', () => {
  let node: CniNode;
  let far: string;
  let pods: string[];
  const echoes: Echo[] = [];

  beforeAll(async () => {
    node = await CniNode.start('ports', DUAL);
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
    await node[Symbol.asyncDispose]();
  });

  const add = async (index: number, config: object = {}) => {
    const answer = await node.add(pods[index]!, { id: `c${index}`, config });
    const ips = answer.status === 0 ? answer.result.ips!.map(({ address }) => address.replace(/\/.*/, '')) : [];
    return Object.assign(answer, { ips });
  };
  const inside = (index: number) => node.nameOf(pods[index]!);

  test('A19: pods, their node and the outside, each known by the right address', async () => {
    const [one, two] = [await add(0), await add(1)];
    for (const [index, address] of two.ips.entries()) {
      expect(await who(inside(0), { address, port: 80 })).toBe(`pod1 ${one.ips[index]}`);
      expect(await who(node.netns, { address, port: 80 })).toMatch(/^pod1 /);
    }
    expect(await who(inside(0), { address: '192.0.2.9', port: 80 })).toBe(`outside ${NODE.IPv4}`);
    expect(await who(inside(0), { address: '2001:db8::9', port: 80 })).toBe(`outside ${NODE.IPv6}`);
    expect(await who(inside(0), { address: '192.0.2.9', port: 80, protocol: 'udp' })).toBe(`outside ${NODE.IPv4}`);
    const rules = async () => (await node.exec(['nft', '-a', 'list', 'ruleset'])).stdout.match(/# handle/g)?.length;
    const before = await rules();
    const more = await node.pod('more');
    await node.add(more, { id: 'more' });
    expect(await rules()).toBe(before);
    await node.del(more, { id: 'more' });
    await node.removePod(more);
  });

  /** Milliseconds until the first packet between two is answered. */
  const first = async (netns: string, address: string) =>
    Number(/time=([\d.]+)/.exec((await node.exec(['ping', '-c1', '-W1', address], netns)).stdout)?.[1]);

  test('A18: the first packet of a new pod, to it and to its gateway is answered within 5 ms', async () => {
    const rounds: Record<string, number>[] = [];
    for (let round = 0; round < LINKS; round += 1) {
      const [second, one] = [await add(1), await add(0)];
      const times: Record<string, number> = {};
      for (const to of second.ips) times[`pod to pod ${ipFamily(to)}`] = await first(inside(0), to);
      for (const to of one.ips) times[`node to pod ${ipFamily(to)}`] = await first(node.netns, to);
      for (const to of GATEWAYS) times[`pod to gateway ${ipFamily(to)}`] = await first(inside(1), to);
      rounds.push(times);
      for (const [index, pod] of pods.entries()) await node.del(pod, { id: `c${index}` });
    }
    // One may have waited for a processor; all of them would only for ARP, STP or DAD.
    const medianOf = (way: string) => rounds.map(times => times[way]!).sort((a, b) => a - b)[(LINKS - 1) / 2]!;
    const medians = Object.keys(rounds[0]!).map(way => [way, medianOf(way)] as const);
    expect(medians).toHaveLength(6);
    expect(medians.filter(([, ms]) => !(ms < 5))).toEqual([]);
  });

  test.each(['tcp', 'udp'] as const)(
    'P01: a hostPort over %s, from everywhere, beside the other protocol',
    async protocol => {
      await add(0, mappings(tcp, udp));
      await add(1);
      const question = { port: 8080, protocol };
      for (const address of Object.values(NODE)) {
        expect(await who(far, { address, ...question })).toMatch(/^pod0 (192\.0\.2\.9|2001:db8::9)$/);
        expect(await who(node.netns, { address, ...question })).toMatch(/^pod0 /);
        expect(await who(inside(1), { address, ...question })).toMatch(/^pod0 /);
        expect(await who(inside(0), { address, ...question })).toMatch(/^pod0 /);
      }
      expect(await who(node.netns, { address: '127.0.0.1', ...question })).toMatch(/^pod0 /);
    },
  );

  test('P02: a port that is taken names its holder, and leaves nothing; another address is another port', async () => {
    await add(0, mappings(tcp));
    const refused = await add(1, mappings(tcp));
    expect(refused).toMatchObject({ code: 102, message: expect.stringContaining('kp/c0/eth0') });
    expect((await add(1, mappings({ ...tcp, hostIP: NODE.IPv4 }))).code).toBe(102);
    await node.del(pods[0]!, { id: 'c0' });
    expect((await add(0, mappings({ ...tcp, hostIP: NODE.IPv4 }))).status).toBe(0);
    expect((await add(1, mappings({ ...tcp, hostIP: '192.0.2.77' }))).status).toBe(0);
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
  });

  test('P04, P05: a protocol in capitals; an IPv6 address for a pod without IPv6 is left out, and said', async () => {
    const ipv4 = { ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/24' }]] } };
    const hostPorts = mappings({ ...tcp, protocol: 'TCP' }, { ...tcp, hostPort: 8081, hostIP: NODE.IPv6 });
    const answer = await add(0, { ...ipv4, ...hostPorts });
    expect(answer.stderr).toContain('8081');
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
  });

  test('P06, D11: a sender that goes on reaches the next pod that has the port', async () => {
    await add(0, mappings(udp));
    const question = { address: NODE.IPv4, port: 8080, protocol: 'udp', keepsPort: true } as const;
    expect(await who(far, question)).toMatch(/^pod0 /);
    await node.del(pods[0]!, { id: 'c0' });
    const { stdout } = await node.exec(['conntrack', '-L', '-p', 'udp', '--orig-port-dst', '8080']);
    expect(stdout).toBe('');
    await add(1, mappings(udp));
    expect(await who(far, question)).toMatch(/^pod1 /);
  });

  test('P07, P08, P09: a hundred in one pod, gone with a DEL that names none; what is not ours stays as it is', async () => {
    await node.exec(['nft', 'add', 'table', 'ip', 'canary']);
    const localnet = async () =>
      (await node.exec(['cat', '/proc/sys/net/ipv4/conf/cni0/route_localnet'])).stdout.trim();
    const many = Array.from({ length: 100 }, (_, index) => ({ ...tcp, hostPort: 20_000 + index }));
    expect((await add(0, mappings(...many))).status).toBe(0);
    expect(await who(far, { address: NODE.IPv4, port: 20_099 })).toMatch(/^pod0 /);
    expect(await localnet()).toBe('1');
    await node.del(pods[0]!, { id: 'c0' });
    expect(await who(far, { address: NODE.IPv4, port: 20_099 })).toBe('ECONNREFUSED');
    expect(await localnet()).toBe('0');
    expect((await node.exec(['nft', 'list', 'tables'])).stdout).toContain('table ip canary');
    await node.exec(['nft', 'delete', 'table', 'ip', 'canary']);
  });

  test('P10: where a program of the node listens, the pod gets the packets, and whoever called hears of it', async () => {
    const listening = await Echo.start(node.netns, 'program', 8080);
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^program /);
    const answer = await add(0, mappings(tcp, { ...tcp, hostPort: 8081 }));
    expect(answer.stderr.match(/hostPort 808\d\/tcp: what listens at \S+ gets nothing more/g)).toHaveLength(1);
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
    await node.del(pods[0]!, { id: 'c0' });
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^program /);
    await listening[Symbol.asyncDispose]();
  });

  test("where another rule set's FORWARD drops, pods are let through", async () => {
    for (const tool of ['iptables-nft', 'ip6tables-nft']) await node.exec([tool, '-P', 'FORWARD', 'DROP']);
    await node.stopAgent();
    await node.startAgent();
    await add(0, mappings(tcp));
    for (const [index, address] of ['192.0.2.9', '2001:db8::9'].entries()) {
      expect(await who(inside(0), { address, port: 80 })).toBe(`outside ${Object.values(NODE)[index]}`);
    }
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
    for (const tool of ['iptables-nft', 'ip6tables-nft']) await node.exec([tool, '-P', 'FORWARD', 'ACCEPT']);
  });

  test('A10, A11: frames of another MAC, isolated ports, and none of it left', async () => {
    const isolated = { portIsolation: true, macspoofchk: true };
    const [one, two] = [await add(0, isolated), await add(1, isolated)];
    expect(await who(inside(0), { address: two.ips[0]!, port: 80, timeoutMs: 300 })).not.toMatch(/^pod1/);
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], inside(0));
    await node.exec(['ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:99'], inside(0));
    await expect(node.exec(['ping', '-c1', '-W1', '10.88.0.1'], inside(0))).rejects.toMatchObject({ exitCode: 1 });
    await node.exec(['ip', 'link', 'set', 'eth0', 'address', one.result.interfaces![2]!.mac!], inside(0));
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], inside(0));
    for (const [index, pod] of pods.entries()) await node.del(pod, { id: `c${index}` });
    const { stdout } = await node.exec(['nft', 'list', 'ruleset']);
    expect(stdout).not.toContain('02:00:00');
  });
});
