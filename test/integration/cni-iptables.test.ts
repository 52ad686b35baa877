/** Masquerade and hostPorts where the kernel has no nf_tables: the agent is told to keep them in iptables. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { nodeProgram, projectDir } from '../../src/lab/install.ts';
import { CniNode, DUAL, outside } from './cni-node.ts';
import { Echo, who } from './cni-packets.ts';
import { savedRules } from './cni-saved-rules.ts';

const FAR = ['192.0.2.9', '2001:db8::9'] as const;
const NODE = ['192.0.2.1', '2001:db8::1'] as const;
const TOOLS = ['iptables-legacy', 'ip6tables-legacy'] as const;
const mappings = (...list: readonly object[]) => ({ runtimeConfig: { portMappings: list } });
const tcp = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const udp = { ...tcp, protocol: 'udp' };
/** The agent looks every 2 s. */
const REPAIR = { timeout: 30_000, interval: 100 };

describe.skipIf(!existsSync('/usr/sbin/iptables-legacy'))('packets of pods, by iptables', () => {
  let node: CniNode;
  let far: string;
  let pods: string[];
  const echoes: Echo[] = [];

  beforeAll(async () => {
    node = await CniNode.start('ipt', DUAL, 'iptables');
    far = await outside(node);
    pods = await Promise.all(['one', 'two'].map(name => node.pod(name)));
    for (const [index, pod] of pods.entries()) echoes.push(await Echo.start(node.nameOf(pod), `pod${index}`));
    echoes.push(await Echo.start(far, 'outside'), await Echo.start(node.netns, 'node', 81));
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
  const own = async () => (await savedRules(node)).filter(line => line.includes('KPROXY-CNI-'));

  test('the log says once where the rules are, and nf_tables has none of them', async () => {
    await add(0, mappings(tcp));
    expect(node.log.filter(line => line.includes('iptables-legacy for IPv4 and IPv6'))).toHaveLength(1);
    expect((await node.exec(['nft', 'list', 'tables'])).stdout).toBe('');
  });

  test('A18, A19: pods, their node and the outside, each known by the right address', async () => {
    const [one, two] = [await add(0), await add(1)];
    for (const [index, address] of two.ips.entries()) {
      expect(await who(inside(0), { address, port: 80 })).toBe(`pod1 ${one.ips[index]}`);
      expect(await who(node.netns, { address, port: 80 })).toMatch(/^pod1 /);
      for (const protocol of ['tcp', 'udp'] as const) {
        expect(await who(inside(0), { address: FAR[index]!, port: 80, protocol })).toBe(`outside ${NODE[index]}`);
      }
    }
  });

  test('A19: a pod adds a rule for each of its addresses, and no chain', async () => {
    await add(0);
    const before = await own();
    await add(1);
    const added = (await own()).filter(line => !before.includes(line));
    expect(added).toEqual([
      expect.stringMatching(/^-A KPROXY-CNI-PODMASQ .*kp\/c1\/eth0/),
      expect.stringMatching(/^-A KPROXY-CNI-PODMASQ .*kp\/c1\/eth0/),
    ]);
  });

  test('A19: without ipMasq, and to networks that the node excepts, a pod leaves with its own address', async () => {
    const [one, two] = [await add(0), await add(1, { ipMasq: false })];
    const routes = [
      ['10.88.0.0/24', NODE[0]],
      ['fd00:88::/64', NODE[1]],
    ] as const;
    for (const [range, by] of routes) await node.exec(['ip', 'route', 'add', range, 'via', by], far);
    const seenBy = async (index: number) => {
      const answers = await Promise.all(FAR.map(address => who(inside(index), { address, port: 80 })));
      return answers.map(answer => answer.replace('outside ', ''));
    };
    expect([await seenBy(0), await seenBy(1)]).toEqual([NODE, two.ips]);
    const seenOf = () => expect.poll(() => seenBy(0), { timeout: 20_000 });
    node.tell({ ...DUAL, nonMasqueradeCIDRs: ['192.0.2.0/24'] });
    await seenOf().toEqual([one.ips[0], NODE[1]]);
    node.tell(DUAL);
    await seenOf().toEqual(NODE);
    for (const [range] of routes) await node.exec(['ip', 'route', 'del', range], far);
  });

  test.each(['tcp', 'udp'] as const)(
    'P01: a hostPort over %s, from everywhere, beside the other protocol',
    async protocol => {
      await add(0, mappings(tcp, udp));
      await add(1);
      const question = { port: 8080, protocol };
      for (const [index, address] of NODE.entries()) {
        expect(await who(far, { address, ...question })).toBe(`pod0 ${FAR[index]}`);
        expect(await who(node.netns, { address, ...question })).toMatch(/^pod0 /);
        expect(await who(inside(1), { address, ...question })).toMatch(/^pod0 /);
        expect(await who(inside(0), { address, ...question })).toMatch(/^pod0 /);
      }
      expect(await who(node.netns, { address: '127.0.0.1', ...question })).toMatch(/^pod0 /);
    },
  );

  test('P01: a hostPort of one address of the node is none of its others', async () => {
    await node.exec(['ip', 'addr', 'add', '192.0.2.3/24', 'dev', 'out0']);
    await add(0, mappings({ ...tcp, hostIP: NODE[0] }));
    await add(1, mappings({ ...tcp, hostIP: NODE[1] }));
    expect(await who(far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
    expect(await who(far, { address: NODE[1], port: 8080 })).toBe(`pod1 ${FAR[1]}`);
    expect(await who(far, { address: '192.0.2.3', port: 8080 })).toBe('ECONNREFUSED');
    expect(await who(inside(0), { address: NODE[0], port: 8080 })).toMatch(/^pod0 /);
    await node.exec(['ip', 'addr', 'del', '192.0.2.3/24', 'dev', 'out0']);
  });

  test('P02: a port that is taken names its holder, and leaves nothing', async () => {
    await add(0, mappings(tcp));
    const before = await own();
    const refused = await add(1, mappings(tcp));
    expect(refused).toMatchObject({ code: 102, message: expect.stringContaining('kp/c0/eth0') });
    expect(await own()).toEqual(before);
    expect(await who(far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
  });

  test('P06, D11: a sender that goes on reaches the next pod that has the port', async () => {
    await add(0, mappings(udp));
    const question = { address: NODE[0], port: 8080, protocol: 'udp', keepsPort: true } as const;
    expect(await who(far, question)).toMatch(/^pod0 /);
    await node.del(pods[0]!, { id: 'c0' });
    expect((await node.exec(['conntrack', '-L', '-p', 'udp', '--orig-port-dst', '8080'])).stdout).toBe('');
    await add(1, mappings(udp));
    expect(await who(far, question)).toMatch(/^pod1 /);
  });

  test('P07, P08, P09: a hundred in one pod, gone with a DEL that names none; what is not ours stays as it is', async () => {
    const canary = ['-p', 'tcp', '--dport', '1', '-m', 'comment', '--comment', 'canary', '-j', 'RETURN'];
    for (const tool of TOOLS) await node.exec([tool, '-t', 'nat', '-A', 'PREROUTING', ...canary]);
    const localnet = async () =>
      (await node.exec(['cat', '/proc/sys/net/ipv4/conf/cni0/route_localnet'])).stdout.trim();
    const before = await savedRules(node);
    const many = Array.from({ length: 100 }, (_, index) => ({ ...tcp, hostPort: 20_000 + index }));
    expect((await add(0, mappings(...many))).status).toBe(0);
    expect(await who(far, { address: NODE[0], port: 20_099 })).toBe(`pod0 ${FAR[0]}`);
    expect(await localnet()).toBe('1');
    await node.del(pods[0]!, { id: 'c0' });
    expect(await who(far, { address: NODE[0], port: 20_099 })).toBe('ECONNREFUSED');
    expect(await localnet()).toBe('0');
    expect(await savedRules(node)).toEqual(before);
    for (const tool of TOOLS) await node.exec([tool, '-t', 'nat', '-D', 'PREROUTING', ...canary]);
  });

  test('P09: with a hostPort at 127.0.0.1, pods stay away from what listens there', async () => {
    await add(0, mappings(tcp));
    const { ips } = await add(1);
    const pod = inside(1);
    await node.exec(['sysctl', '-qw', 'net.ipv4.conf.eth0.route_localnet=1'], pod);
    await node.exec(['ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo'], pod);
    const route = ['127.0.0.0/8', 'via', '10.88.0.1', 'dev', 'eth0', 'src', ips[0]!];
    await node.exec(['ip', 'route', 'add', ...route], pod);
    const asked = () => who(pod, { address: '127.0.0.1', port: 81, timeoutMs: 500 });
    expect(await asked()).not.toMatch(/^node/);
    const unguarded = async () => {
      await node.exec(['iptables-legacy', '-F', 'KPROXY-CNI-LOCALNET']);
      return asked();
    };
    await expect.poll(unguarded, REPAIR).toBe(`node ${ips[0]}`);
    await node.exec(['ip', 'route', 'del', ...route], pod);
    await node.exec(['ip', 'addr', 'add', '127.0.0.1/8', 'dev', 'lo'], pod);
  });

  test('P10: where a Service has the same port, its rule wins', async () => {
    const { ips } = await add(1);
    const service = ['-p', 'tcp', '--dport', '8080', '-j', 'DNAT', '--to-destination', `${ips[0]}:80`];
    await node.exec(['iptables-legacy', '-t', 'nat', '-I', 'PREROUTING', ...service]);
    await add(0, mappings(tcp));
    expect(await who(far, { address: NODE[0], port: 8080 })).toBe(`pod1 ${FAR[0]}`);
    await node.exec(['iptables-legacy', '-t', 'nat', '-D', 'PREROUTING', ...service]);
    expect(await who(far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
  });

  test('A10: checks of the source are refused, by the name of the field, and nothing is left', async () => {
    for (const field of ['macspoofchk', 'ipspoofchk']) {
      const refused = await add(0, { [field]: true });
      expect(refused).toMatchObject({ code: 103, message: expect.stringContaining(`${field}: needs nf_tables`) });
      expect(await node.residue()).toEqual([]);
    }
  });

  test('K04, K05: CHECK tells what is missing, until the agent has put it back', async () => {
    const { result: prevResult } = await add(0, mappings(tcp));
    const before = await own();
    const check = () => node.call({ verb: 'CHECK', pod: pods[0]!, id: 'c0', config: { ...mappings(tcp), prevResult } });
    expect((await check()).stdout).toBe('');
    for (const [chain, what] of [
      ['KPROXY-CNI-PODMASQ', 'the masquerade of 10.88.0.'],
      ['KPROXY-CNI-HOSTPORT', 'hostPort 8080/tcp to 10.88.0.'],
      ['POSTROUTING', 'the way from POSTROUTING to KPROXY-CNI-MASQ'],
    ] as const) {
      const flushed = async () => {
        await node.exec(['iptables-legacy', '-t', 'nat', '-F', chain]);
        return (await check()).stdout;
      };
      await expect.poll(flushed, REPAIR).toContain(`missing in iptables (IPv4): ${what}`);
    }
    await expect.poll(own, REPAIR).toEqual(before);
    expect((await check()).stdout).toBe('');
  });

  test('F09: what somebody flushes is there again, with the packets', async () => {
    await add(0, mappings(tcp));
    const before = await own();
    for (const take of [
      ['-t', 'nat', '-F'],
      [
        '-t',
        'nat',
        '-D',
        'POSTROUTING',
        '-m',
        'comment',
        '--comment',
        'kproxy-ts: pods of this node',
        '-j',
        'KPROXY-CNI-MASQ',
      ],
      ['-t', 'nat', '-F', 'KPROXY-CNI-HOSTMASQ'],
    ]) {
      for (const tool of TOOLS) await node.exec([tool, ...take]);
      expect(await own()).not.toEqual(before);
      await expect.poll(own, REPAIR).toEqual(before);
    }
    for (const [index, address] of FAR.entries()) {
      expect(await who(inside(0), { address, port: 80 })).toBe(`outside ${NODE[index]}`);
      expect(await who(far, { address: NODE[index]!, port: 8080 })).toBe(`pod0 ${address}`);
    }
  });

  test('F04: an agent that is killed between two changes is followed by one that has the rules right', async () => {
    await add(0, mappings(tcp));
    const before = await own();
    await node.stopAgent('SIGKILL');
    expect(await own()).toEqual(before);
    expect(await who(far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
    await node.startAgent();
    expect(await own()).toEqual(before);
    await node.stopAgent('SIGKILL');
    for (const tool of TOOLS) await node.exec([tool, '-t', 'nat', '-F']);
    await node.startAgent();
    expect(await own()).toEqual(before);
    expect(await who(inside(0), { address: FAR[0], port: 80 })).toBe(`outside ${NODE[0]}`);
  });

  test('F04: an agent that is killed while pods come leaves nothing that their DELs leave', async () => {
    const names = Array.from({ length: 6 }, (_, index) => `kill${index}`);
    const paths = await Promise.all(names.map(name => node.pod(name)));
    const adds = paths.map((pod, index) => node.add(pod, { id: names[index]! }));
    await expect.poll(own, REPAIR).not.toEqual([]);
    await node.stopAgent('SIGKILL');
    await Promise.all(adds);
    await node.startAgent();
    for (const [index, pod] of paths.entries()) expect((await node.del(pod, { id: names[index]! })).status).toBe(0);
    for (const pod of paths) await node.removePod(pod);
    expect(await node.residue()).toEqual([]);
  });

  test("where another rule set's FORWARD drops, pods are let through", async () => {
    for (const tool of TOOLS) await node.exec([tool, '-P', 'FORWARD', 'DROP']);
    await node.stopAgent();
    await node.startAgent();
    await add(0, mappings(tcp));
    for (const [index, address] of FAR.entries()) {
      expect(await who(inside(0), { address, port: 80 })).toBe(`outside ${NODE[index]}`);
      expect(await who(far, { address: NODE[index]!, port: 8080 })).toBe(`pod0 ${address}`);
    }
    for (const tool of TOOLS) await node.exec([tool, '-P', 'FORWARD', 'ACCEPT']);
    await node.stopAgent();
    await node.startAgent();
  });

  test('cleanup takes all of it away, and an agent that starts makes it again', async () => {
    for (const tool of TOOLS) await node.exec([tool, '-P', 'FORWARD', 'DROP']);
    await add(0, mappings(tcp));
    await node.stopAgent();
    await node.startAgent();
    const before = await own();
    expect(before.join()).toContain('KPROXY-CNI-FORWARD');
    await node.stopAgent();
    const removal = pathToFileURL(join(projectDir, 'src/cni/rules/removal.ts')).href;
    const script = `const { removeCniRules } = await import('${removal}'); await removeCniRules(console);`;
    await node.exec([nodeProgram, '--input-type=module', '-e', script]);
    expect(await own()).toEqual([]);
    await node.startAgent();
    expect(await own()).toEqual(before);
    for (const tool of TOOLS) await node.exec([tool, '-P', 'FORWARD', 'ACCEPT']);
    await node.stopAgent();
    await node.startAgent();
  });

  test('many at once have their rules, and none when they are gone', async () => {
    const names = Array.from({ length: 12 }, (_, index) => `many${index}`);
    const paths = await Promise.all(names.map(name => node.pod(name)));
    const ports = (index: number) => mappings({ ...tcp, hostPort: 9000 + index });
    const answers = await Promise.all(
      paths.map((pod, index) => node.add(pod, { id: names[index]!, config: ports(index) })),
    );
    expect(answers.map(({ status }) => status)).toEqual(names.map(() => 0));
    const rules = await own();
    for (const name of names) expect(rules.filter(line => line.includes(`kp/${name}/eth0`))).toHaveLength(6);
    await Promise.all(paths.map((pod, index) => node.del(pod, { id: names[index]! })));
    for (const pod of paths) await node.removePod(pod);
    expect(await node.residue()).toEqual([]);
  });
});
