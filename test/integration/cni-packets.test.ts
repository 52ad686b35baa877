import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { nodeProgram } from '../../src/lab/install.ts';
import { CniNode, DUAL, linkIn, outside } from './cni-node.ts';
import { Echo, who } from './cni-packets.ts';

const FAR = ['192.0.2.9', '2001:db8::9'] as const;
const NODE = ['192.0.2.1', '2001:db8::1'] as const;
const GATEWAYS = ['10.88.0.1', 'fd00:88::1'] as const;
/** For the first packet of a link, in milliseconds: the median of so many links, and what each would take if it waited for ARP again, STP or duplicate address detection. */
const [AT_ONCE, NEW_LINKS, NEVER_WAITED] = [5, 5, 500];

const tcp = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const mappings = (...list: readonly object[]) => ({ runtimeConfig: { portMappings: list } });

describe('what packets show of sources, checks and ports', () => {
  let node: CniNode;
  let far: string;
  let pods: string[];
  const echoes: Echo[] = [];

  beforeAll(async () => {
    node = await CniNode.start('packets', DUAL);
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

  /** Milliseconds until the answer; Infinity = there is none. */
  async function ping(netns: string, address: string, ...more: readonly string[]): Promise<number> {
    try {
      const { stdout } = await node.exec(['ping', '-c1', '-W1', ...more, address], netns);
      return Number(/time=([\d.]+)/.exec(stdout)?.[1]);
    } catch (error) {
      expect(error).toMatchObject({ exitCode: 1 }); // 2 = it could not be sent
      return Infinity;
    }
  }

  test.each(['pod to gateway', 'node to pod', 'pod to pod'])('A18: the first packet of %s', async way => {
    const took: number[][] = [[], []];
    for (let round = 0; round < NEW_LINKS; round += 1) {
      const [, two] = [await add(0), await add(1)];
      expect(two.ips).toHaveLength(2);
      for (const [index, address] of two.ips.entries()) {
        const from = way === 'node to pod' ? node.netns : inside(0);
        took[index]!.push(await ping(from, way === 'pod to gateway' ? GATEWAYS[index]! : address));
      }
      for (const index of [0, 1]) await node.del(pods[index]!, { id: `c${index}` });
    }
    for (const times of took) {
      expect(Math.max(...times)).toBeLessThan(NEVER_WAITED);
      expect(times.toSorted((one, other) => one - other)[NEW_LINKS >> 1]).toBeLessThan(AT_ONCE);
    }
  });

  test('A19: a pod and its node know each other by their own addresses', async () => {
    const { ips } = await add(0);
    for (const [index, own] of ips.entries()) {
      expect(await who(inside(0), { address: NODE[index]!, port: 81 })).toBe(`node ${own}`);
      expect(await who(inside(0), { address: GATEWAYS[index]!, port: 81 })).toBe(`node ${own}`);
      expect(await who(node.netns, { address: own, port: 80 })).toBe(`pod0 ${GATEWAYS[index]}`);
    }
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
    const seenOf = () => expect.poll(() => seenBy(0), { timeout: 5000 });
    node.tell({ ...DUAL, nonMasqueradeCIDRs: ['192.0.2.0/24'] });
    await seenOf().toEqual([one.ips[0], NODE[1]]);
    node.tell(DUAL);
    await seenOf().toEqual(NODE);
    for (const [range] of routes) await node.exec(['ip', 'route', 'del', range], far);
  });

  test('A19: multicast keeps its source', async () => {
    const { ips } = await add(0);
    await add(1);
    const listen = `const s = require('node:dgram').createSocket('udp4');
      s.bind(5000, () => { s.addMembership('239.1.2.3'); console.log('ready'); });
      s.on('message', (_, { address }) => { console.log(address); process.exit(); });`;
    const command = ['netns', 'exec', inside(1), nodeProgram, '-e', listen];
    const listener = spawn('ip', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const lines = createInterface(listener.stdout)[Symbol.asyncIterator]();
      expect((await lines.next()).value).toBe('ready');
      const send = `const s = require('node:dgram').createSocket('udp4'); s.send('x', 5000, '239.1.2.3', () => s.close());`;
      await node.exec([nodeProgram, '-e', send], inside(0));
      expect((await lines.next()).value).toBe(ips[0]);
    } finally {
      listener.kill('SIGKILL');
    }
  });

  test('A10: frames of another MAC stop with macspoofchk alone, and its rules go with a pod that is gone', async () => {
    const pod = await node.pod('gone');
    const netns = node.nameOf(pod);
    const changeMac = (mac: string) => node.exec(['ip', 'link', 'set', 'eth0', 'address', mac], netns);
    await node.add(pod, { id: 'gone' });
    await changeMac('02:00:00:00:00:99');
    expect(await ping(netns, GATEWAYS[0])).toBeLessThan(Infinity);
    await node.del(pod, { id: 'gone' });

    const { result } = await node.add(pod, { id: 'gone', config: { macspoofchk: true } });
    const { mac = '', name: link = '' } = { ...result.interfaces![1], mac: result.interfaces![2]!.mac };
    const rules = async () => (await node.exec(['nft', 'list', 'ruleset'])).stdout;
    expect(await rules()).toContain(mac);
    for (const gateway of GATEWAYS) expect(await ping(netns, gateway)).toBeLessThan(NEVER_WAITED);
    await changeMac('02:00:00:00:00:99');
    for (const gateway of GATEWAYS) expect(await ping(netns, gateway)).toBe(Infinity);
    // An agent that has lost its records knows it from the kernel.
    await node.stopAgent();
    await writeFile(join(node.directory, 'state/cni.db'), 'this is no database');
    await node.startAgent();
    expect(await ping(netns, GATEWAYS[0])).toBe(Infinity);
    await changeMac(mac);
    expect(await ping(netns, GATEWAYS[0])).toBeLessThan(Infinity);
    await node.removePod(pod);
    expect((await node.del('', { id: 'gone' })).status).toBe(0);
    expect(await rules()).not.toContain(mac);
    expect(await rules()).not.toContain(link);
  });

  test('A10: packets of another address stop with ipspoofchk alone', async () => {
    const others = ['10.88.0.77', 'fd00:88::77'] as const;
    const strangers = async () => {
      for (const address of others)
        await node.exec(['ip', 'addr', 'add', address, 'dev', 'eth0', ...nodad(address)], inside(0));
      const times = [];
      for (const [index, address] of others.entries())
        times.push(await ping(inside(0), GATEWAYS[index]!, '-I', address));
      return times.map(time => time < Infinity);
    };
    await add(0);
    expect(await strangers()).toEqual([true, true]);
    await node.del(pods[0]!, { id: 'c0' });
    const { ips } = await add(0, { ipspoofchk: true });
    const own = async () => {
      for (const [index, address] of ips.entries()) {
        expect(await ping(inside(0), GATEWAYS[index]!, '-I', address)).toBeLessThan(Infinity);
      }
    };
    await own(); // the gateways' MACs are known now: a request for one has the source of the packet that waits for it
    expect(await strangers()).toEqual([false, false]);
    await own();
  });

  test('A11: promiscMode and hairpinMode are seen at the bridge; an isolated pod and one that is not reach each other', async () => {
    const isolated = await add(0, { portIsolation: true });
    const open = await add(1, { hairpinMode: true });
    expect(await who(inside(0), { address: open.ips[0]!, port: 80 })).toBe(`pod1 ${isolated.ips[0]}`);
    expect(await who(inside(1), { address: isolated.ips[1]!, port: 80 })).toBe(`pod0 ${open.ips[1]}`);
    const ports = [isolated, open].map(({ result }) => linkIn(node, node.netns, result.interfaces![1]!.name));
    expect(await Promise.all(ports)).toMatchObject([
      { linkinfo: { info_slave_data: { isolated: true } } },
      { linkinfo: { info_slave_data: { isolated: false, hairpin: true } } },
    ]);
    const alone = await node.pod('alone');
    const config = {
      name: 'promisc',
      bridge: 'br-promisc',
      promiscMode: true,
      ipam: undefined,
      isDefaultGateway: false,
    };
    expect((await node.add(alone, { id: 'alone', config })).status).toBe(0);
    expect((await linkIn(node, node.netns, 'br-promisc'))?.flags).toContain('PROMISC');
    expect((await node.del(alone, { id: 'alone', config })).status).toBe(0);
  });

  test('P02: every address of the node meets one of them; what is refused leaves all as it was', async () => {
    const state = async () => [(await node.exec(['nft', 'list', 'ruleset'])).stdout, await node.residue()];
    for (const [first, second] of [
      ['0.0.0.0', NODE[0]],
      [NODE[0], '0.0.0.0'],
      ['::', NODE[1]],
      ['', '0.0.0.0'],
    ]) {
      expect((await add(0, mappings({ ...tcp, hostIP: first }))).status).toBe(0);
      const before = await state();
      expect(await add(1, mappings({ ...tcp, hostIP: second }))).toMatchObject({
        code: 102,
        message: expect.stringContaining('kp/c0/eth0'),
      });
      expect(await state()).toEqual(before);
      await node.del(pods[0]!, { id: 'c0' });
    }
  });

  test('P01: a hostPort of one address of the node is none of its others', async () => {
    await node.exec(['ip', 'addr', 'add', '192.0.2.3/24', 'dev', 'out0']);
    await add(0, mappings({ ...tcp, hostIP: NODE[0] }));
    expect(await who(far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
    for (const address of ['192.0.2.3', NODE[1]]) expect(await who(far, { address, port: 8080 })).toBe('ECONNREFUSED');
    await node.exec(['ip', 'addr', 'del', '192.0.2.3/24', 'dev', 'out0']);
  });

  test('D11: after DEL the connection table knows neither the address nor the hostPort; flows of other pods stay', async () => {
    const [one, two] = [await add(0, mappings(tcp, { ...tcp, protocol: 'udp' })), await add(1)];
    for (const protocol of ['tcp', 'udp'] as const) {
      for (const address of NODE) await who(far, { address, port: 8080, protocol });
      for (const index of [0, 1]) for (const address of FAR) await who(inside(index), { address, port: 80, protocol });
    }
    const flows = async () =>
      (await Promise.all(['ipv4', 'ipv6'].map(family => node.exec(['conntrack', '-L', '-f', family]))))
        .flatMap(({ stdout }) => stdout.split('\n'))
        .filter(line => line !== '');
    const of = (words: readonly string[], lines: readonly string[]) =>
      lines.filter(line => line.split(/\s+/).some(word => words.includes(word)));
    const gone = [...one.ips.flatMap(ip => [`src=${ip}`, `dst=${ip}`]), 'dport=8080'];
    const kept = two.ips.map(ip => `src=${ip}`);
    const before = await flows();
    expect(of(gone, before).length).toBeGreaterThanOrEqual(8);
    await node.del(pods[0]!, { id: 'c0' });
    expect(of(gone, await flows())).toEqual([]);
    expect(of(kept, await flows())).toHaveLength(4);
  });

  test("P09: others' tables and rules are as they were, during and after", async () => {
    const canary = [
      '-t',
      'nat',
      '-A',
      'PREROUTING',
      '-p',
      'tcp',
      '--dport',
      '1',
      '-m',
      'comment',
      '--comment',
      'canary',
    ];
    for (const tool of ['iptables-nft', 'ip6tables-nft']) await node.exec([tool, ...canary, '-j', 'RETURN']);
    await node.exec(['nft', 'add table ip other { chain c { ip saddr 198.51.100.1 counter drop; }; }']);
    const theirs = async () => {
      const tables = ['ip nat', 'ip6 nat', 'ip other'].map(table =>
        node.exec(['nft', '-a', 'list', 'table', ...table.split(' ')] as never),
      );
      return (await Promise.all(tables)).map(({ stdout }) => stdout.replaceAll(/packets \d+ bytes \d+/g, ''));
    };
    const before = await theirs();
    await add(0, mappings(tcp));
    expect(await who(far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
    expect(await theirs()).toEqual(before);
    await node.del(pods[0]!, { id: 'c0' });
    expect(await theirs()).toEqual(before);
    for (const table of ['ip nat', 'ip6 nat', 'ip other']) await node.exec(['nft', `delete table ${table}`]);
  });
});

const nodad = (address: string) => (address.includes(':') ? ['nodad'] : []);
