import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CniNode, DUAL, outside } from './cni-node.ts';
import { Echo, who } from './cni-packets.ts';

const NODE = { IPv4: '192.0.2.1', IPv6: '2001:db8::1' };
const FAR = ['192.0.2.9', '2001:db8::9'] as const;
const mappings = (...list: readonly object[]) => ({ runtimeConfig: { portMappings: list } });
const tcp = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const udp = { ...tcp, protocol: 'udp' };
const TOOLS = ['iptables-legacy', 'ip6tables-legacy'] as const;

/** What the agent does on a kernel without nf_tables; it is told so here, as this kernel has it. */
describe('rules of pods in ip_tables', () => {
  let node: CniNode;
  let far: string;
  let pods: string[];
  const echoes: Echo[] = [];

  beforeAll(async () => {
    node = await CniNode.start('legacy', DUAL, { rules: 'iptables' });
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
  const seenOutside = async (index: number) =>
    Promise.all(FAR.map(async address => (await who(inside(index), { address, port: 80 })).replace('outside ', '')));

  test('A19: pods leave with the address of the node, and keep theirs among themselves; nf_tables stays empty', async () => {
    const [one, two] = [await add(0), await add(1)];
    expect(await seenOutside(0)).toEqual(Object.values(NODE));
    for (const [index, address] of two.ips.entries())
      expect(await who(inside(0), { address, port: 80 })).toBe(`pod1 ${one.ips[index]}`);
    expect((await node.exec(['nft', 'list', 'tables'])).stdout).toBe('');
  });

  test('A19: not without ipMasq, nor to networks that the node excepts', async () => {
    const [one, two] = [await add(0), await add(1, { ipMasq: false })];
    const routes = [
      ['10.88.0.0/24', NODE.IPv4],
      ['fd00:88::/64', NODE.IPv6],
    ] as const;
    for (const [range, by] of routes) await node.exec(['ip', 'route', 'add', range, 'via', by], far);
    expect(await seenOutside(1)).toEqual(two.ips);
    node.tell({ ...DUAL, nonMasqueradeCIDRs: ['192.0.2.0/24'] });
    await expect.poll(() => seenOutside(0), { timeout: 10_000 }).toEqual([one.ips[0], NODE.IPv6]);
    node.tell(DUAL);
    await expect.poll(() => seenOutside(0), { timeout: 10_000 }).toEqual(Object.values(NODE));
    for (const [range] of routes) await node.exec(['ip', 'route', 'del', range], far);
  });

  test.each(['tcp', 'udp'] as const)('P01: a hostPort over %s, from everywhere', async protocol => {
    await add(0, mappings(tcp, udp));
    await add(1);
    const question = { port: 8080, protocol };
    for (const address of Object.values(NODE)) {
      expect(await who(far, { address, ...question })).toMatch(/^pod0 (192\.0\.2\.9|2001:db8::9)$/);
      for (const from of [node.netns, inside(1), inside(0)])
        expect(await who(from, { address, ...question })).toMatch(/^pod0 /);
    }
    expect(await who(node.netns, { address: '127.0.0.1', ...question })).toMatch(/^pod0 /);
  });

  test('P02, P06: a port that is taken names its holder; of one address it is before that of all; free after DEL', async () => {
    await add(0, mappings(tcp));
    expect(await add(1, mappings(tcp))).toMatchObject({ code: 102, message: expect.stringContaining('kp/c0/eth0') });
    await node.del(pods[0]!, { id: 'c0' });
    expect((await add(1, mappings({ ...tcp, hostIP: NODE.IPv4 }))).status).toBe(0);
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod1 /);
    expect(await who(far, { address: NODE.IPv6, port: 8080 })).toBe('ECONNREFUSED');
  });

  test('A10: checks of sources are refused, by their field', async () => {
    for (const field of ['macspoofchk', 'ipspoofchk'])
      expect(await add(0, { [field]: true })).toMatchObject({ code: 103, message: expect.stringContaining(field) });
  });

  test('K04, F09: CHECK tells what is gone, and it is there again within seconds', async () => {
    const added = [await add(0, mappings(tcp)), await add(1)];
    const check = (index: number) => {
      const config = { ...(index === 0 ? mappings(tcp) : {}), prevResult: added[index]!.result };
      return node.call({ verb: 'CHECK', pod: pods[index]!, id: `c${index}`, config });
    };
    const codes = async () => [(await check(0)).code, (await check(1)).code];
    expect(await codes()).toEqual([0, 0]);
    const rule = [
      '-p',
      'tcp',
      '-m',
      'tcp',
      '--dport',
      '8080',
      '-j',
      'DNAT',
      '--to-destination',
      `${added[0]!.ips[0]}:80`,
    ];
    const loseRule = () => node.exec(['iptables-legacy', '-t', 'nat', '-D', 'KPROXY-CNI-HOSTPORT', ...rule]);
    // It may be repaired between both questions.
    await expect.poll(async () => [await loseRule().catch(() => undefined), await codes()][1]).toEqual([103, 0]);
    for (const tool of TOOLS) await node.exec([tool, '-t', 'nat', '-F']);
    await expect.poll(() => who(far, { address: NODE.IPv4, port: 8080 }), { timeout: 20_000 }).toMatch(/^pod0 /);
    await expect.poll(() => seenOutside(1), { timeout: 20_000 }).toEqual(Object.values(NODE));
    expect(await codes()).toEqual([0, 0]);
  });

  test('F04, F05: an agent that is killed: its rules stay, the next one knows them, DEL takes them away', async () => {
    await add(0, mappings(tcp));
    await node.stopAgent('SIGKILL');
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
    expect(await seenOutside(0)).toEqual(Object.values(NODE));
    await node.startAgent();
    expect(await who(far, { address: NODE.IPv6, port: 8080 })).toMatch(/^pod0 /);
    expect((await node.del(pods[0]!, { id: 'c0' })).status).toBe(0);
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toBe('ECONNREFUSED');
  });

  test("where another rule set's FORWARD drops, pods are let through", async () => {
    for (const tool of TOOLS) await node.exec([tool, '-P', 'FORWARD', 'DROP']);
    await node.stopAgent();
    await node.startAgent();
    await add(0, mappings(tcp));
    expect(await seenOutside(0)).toEqual(Object.values(NODE));
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
    for (const tool of TOOLS) await node.exec([tool, '-P', 'FORWARD', 'ACCEPT']);
  });
});
