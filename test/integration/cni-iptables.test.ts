/** Masquerade and hostPorts where the kernel has no nf_tables: the agent is told to keep them in iptables. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { FAR, IptablesLab, mappings, NODE, REPAIR, TOOLS, tcp } from './cni-iptables-lab.ts';
import { DUAL } from './cni-node.ts';
import { who } from './cni-packets.ts';
import { savedRules } from './cni-saved-rules.ts';

const udp = { ...tcp, protocol: 'udp' };

describe('packets of pods, by iptables', () => {
  let lab: IptablesLab;
  beforeAll(async () => {
    lab = await IptablesLab.start('ipt');
  });
  afterEach(() => lab.expectNothingLeft());
  afterAll(() => lab[Symbol.asyncDispose]());

  test('the log says once where the rules are, and nf_tables has none of them', async () => {
    await lab.add(0, mappings(tcp));
    expect(lab.node.log.filter(line => line.includes('iptables-legacy for IPv4 and IPv6'))).toHaveLength(1);
    expect((await lab.node.exec(['nft', 'list', 'tables'])).stdout).toBe('');
  });

  test('A18, A19: pods, their node and the outside, each known by the right address', async () => {
    const [one, two] = [await lab.add(0), await lab.add(1)];
    for (const [index, address] of two.ips.entries()) {
      expect(await who(lab.inside(0), { address, port: 80 })).toBe(`pod1 ${one.ips[index]}`);
      expect(await who(lab.node.netns, { address, port: 80 })).toMatch(/^pod1 /);
      for (const protocol of ['tcp', 'udp'] as const) {
        expect(await who(lab.inside(0), { address: FAR[index]!, port: 80, protocol })).toBe(`outside ${NODE[index]}`);
      }
    }
  });

  test('A19: a pod adds a rule for each of its addresses, and no chain', async () => {
    await lab.add(0);
    const before = await lab.own();
    await lab.add(1);
    const added = (await lab.own()).filter(line => !before.includes(line));
    expect(added).toEqual([
      expect.stringMatching(/^-A KPROXY-CNI-PODMASQ .*kp\/c1\/eth0/),
      expect.stringMatching(/^-A KPROXY-CNI-PODMASQ .*kp\/c1\/eth0/),
    ]);
  });

  test('A19: without ipMasq, and to networks that the node excepts, a pod leaves with its own address', async () => {
    const [one, two] = [await lab.add(0), await lab.add(1, { ipMasq: false })];
    const routes = [
      ['10.88.0.0/24', NODE[0]],
      ['fd00:88::/64', NODE[1]],
    ] as const;
    for (const [range, by] of routes) await lab.node.exec(['ip', 'route', 'add', range, 'via', by], lab.far);
    const seenBy = async (index: number) => {
      const answers = await Promise.all(FAR.map(address => who(lab.inside(index), { address, port: 80 })));
      return answers.map(answer => answer.replace('outside ', ''));
    };
    expect([await seenBy(0), await seenBy(1)]).toEqual([NODE, two.ips]);
    const seenOf = () => expect.poll(() => seenBy(0), { timeout: 20_000 });
    lab.node.tell({ ...DUAL, nonMasqueradeCIDRs: ['192.0.2.0/24'] });
    await seenOf().toEqual([one.ips[0], NODE[1]]);
    lab.node.tell(DUAL);
    await seenOf().toEqual(NODE);
    for (const [range] of routes) await lab.node.exec(['ip', 'route', 'del', range], lab.far);
  });

  test.each(['tcp', 'udp'] as const)(
    'P01: a hostPort over %s, from everywhere, beside the other protocol',
    async protocol => {
      await lab.add(0, mappings(tcp, udp));
      await lab.add(1);
      const question = { port: 8080, protocol };
      for (const [index, address] of NODE.entries()) {
        expect(await who(lab.far, { address, ...question })).toBe(`pod0 ${FAR[index]}`);
        expect(await who(lab.node.netns, { address, ...question })).toMatch(/^pod0 /);
        expect(await who(lab.inside(1), { address, ...question })).toMatch(/^pod0 /);
        expect(await who(lab.inside(0), { address, ...question })).toMatch(/^pod0 /);
      }
      expect(await who(lab.node.netns, { address: '127.0.0.1', ...question })).toMatch(/^pod0 /);
    },
  );

  test('P01: a hostPort of one address of the node is none of its others', async () => {
    await lab.node.exec(['ip', 'addr', 'add', '192.0.2.3/24', 'dev', 'out0']);
    await lab.add(0, mappings({ ...tcp, hostIP: NODE[0] }));
    await lab.add(1, mappings({ ...tcp, hostIP: NODE[1] }));
    expect(await who(lab.far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
    expect(await who(lab.far, { address: NODE[1], port: 8080 })).toBe(`pod1 ${FAR[1]}`);
    expect(await who(lab.far, { address: '192.0.2.3', port: 8080 })).toBe('ECONNREFUSED');
    expect(await who(lab.inside(0), { address: NODE[0], port: 8080 })).toMatch(/^pod0 /);
    await lab.node.exec(['ip', 'addr', 'del', '192.0.2.3/24', 'dev', 'out0']);
  });

  test('P02: a port that is taken names its holder, and leaves nothing', async () => {
    await lab.add(0, mappings(tcp));
    const before = await lab.own();
    const refused = await lab.add(1, mappings(tcp));
    expect(refused).toMatchObject({ code: 102, message: expect.stringContaining('kp/c0/eth0') });
    expect(await lab.own()).toEqual(before);
    expect(await who(lab.far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
  });

  test('P06, D11: a sender that goes on reaches the next pod that has the port', async () => {
    await lab.add(0, mappings(udp));
    const question = { address: NODE[0], port: 8080, protocol: 'udp', keepsPort: true } as const;
    expect(await who(lab.far, question)).toMatch(/^pod0 /);
    await lab.node.del(lab.pods[0]!, { id: 'c0' });
    expect((await lab.node.exec(['conntrack', '-L', '-p', 'udp', '--orig-port-dst', '8080'])).stdout).toBe('');
    await lab.add(1, mappings(udp));
    expect(await who(lab.far, question)).toMatch(/^pod1 /);
  });

  test('P07, P08, P09: a hundred in one pod, gone with a DEL that names none; what is not ours stays as it is', async () => {
    const canary = ['-p', 'tcp', '--dport', '1', '-m', 'comment', '--comment', 'canary', '-j', 'RETURN'];
    for (const tool of TOOLS) await lab.node.exec([tool, '-t', 'nat', '-A', 'PREROUTING', ...canary]);
    const localnet = async () =>
      (await lab.node.exec(['cat', '/proc/sys/net/ipv4/conf/cni0/route_localnet'])).stdout.trim();
    const before = await savedRules(lab.node);
    const many = Array.from({ length: 100 }, (_, index) => ({ ...tcp, hostPort: 20_000 + index }));
    expect((await lab.add(0, mappings(...many))).status).toBe(0);
    expect(await who(lab.far, { address: NODE[0], port: 20_099 })).toBe(`pod0 ${FAR[0]}`);
    expect(await localnet()).toBe('1');
    await lab.node.del(lab.pods[0]!, { id: 'c0' });
    expect(await who(lab.far, { address: NODE[0], port: 20_099 })).toBe('ECONNREFUSED');
    expect(await localnet()).toBe('0');
    expect(await savedRules(lab.node)).toEqual(before);
    for (const tool of TOOLS) await lab.node.exec([tool, '-t', 'nat', '-D', 'PREROUTING', ...canary]);
  });

  test('P09: with a hostPort at 127.0.0.1, pods stay away from what listens there', async () => {
    await lab.add(0, mappings(tcp));
    const { ips } = await lab.add(1);
    const pod = lab.inside(1);
    await lab.node.exec(['sysctl', '-qw', 'net.ipv4.conf.eth0.route_localnet=1'], pod);
    await lab.node.exec(['ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo'], pod);
    const route = ['127.0.0.0/8', 'via', '10.88.0.1', 'dev', 'eth0', 'src', ips[0]!];
    await lab.node.exec(['ip', 'route', 'add', ...route], pod);
    const asked = () => who(pod, { address: '127.0.0.1', port: 81, timeoutMs: 500 });
    expect(await asked()).not.toMatch(/^node/);
    const unguarded = async () => {
      await lab.node.exec(['iptables-legacy', '-F', 'KPROXY-CNI-LOCALNET']);
      return asked();
    };
    await expect.poll(unguarded, REPAIR).toBe(`node ${ips[0]}`);
    await lab.node.exec(['ip', 'route', 'del', ...route], pod);
    await lab.node.exec(['ip', 'addr', 'add', '127.0.0.1/8', 'dev', 'lo'], pod);
  });

  test('P10: where a Service has the same port, its rule wins', async () => {
    const { ips } = await lab.add(1);
    const service = ['-p', 'tcp', '--dport', '8080', '-j', 'DNAT', '--to-destination', `${ips[0]}:80`];
    await lab.node.exec(['iptables-legacy', '-t', 'nat', '-I', 'PREROUTING', ...service]);
    await lab.add(0, mappings(tcp));
    expect(await who(lab.far, { address: NODE[0], port: 8080 })).toBe(`pod1 ${FAR[0]}`);
    await lab.node.exec(['iptables-legacy', '-t', 'nat', '-D', 'PREROUTING', ...service]);
    expect(await who(lab.far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
  });

  test('A10: checks of the source are refused, by the name of the field, and nothing is left', async () => {
    for (const field of ['macspoofchk', 'ipspoofchk']) {
      const refused = await lab.add(0, { [field]: true });
      expect(refused).toMatchObject({ code: 103, message: expect.stringContaining(`${field}: needs nf_tables`) });
      expect(await lab.node.residue()).toEqual([]);
    }
  });

  test("where another rule set's FORWARD drops, pods are let through", async () => {
    for (const tool of TOOLS) await lab.node.exec([tool, '-P', 'FORWARD', 'DROP']);
    await lab.node.stopAgent();
    await lab.node.startAgent();
    await lab.add(0, mappings(tcp));
    for (const [index, address] of FAR.entries()) {
      expect(await who(lab.inside(0), { address, port: 80 })).toBe(`outside ${NODE[index]}`);
      expect(await who(lab.far, { address: NODE[index]!, port: 8080 })).toBe(`pod0 ${address}`);
    }
    for (const tool of TOOLS) await lab.node.exec([tool, '-P', 'FORWARD', 'ACCEPT']);
    await lab.node.stopAgent();
    await lab.node.startAgent();
  });
});
