import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CniNode, DUAL, outside } from './cni-node.ts';
import { Echo, who } from './cni-packets.ts';

const NODE = { IPv4: '192.0.2.1', IPv6: '2001:db8::1' };
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

  test('A18, A19: pods, their node and the outside, each known by the right address, the first packet at once', async () => {
    const [one, two] = [await add(0), await add(1)];
    for (const [index, address] of two.ips.entries()) {
      const { stdout } = await node.exec(['ping', '-c1', '-W1', address], inside(0));
      expect(Number(/time=([\d.]+)/.exec(stdout)?.[1])).toBeLessThan(500); // nothing is waited for
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

  test('P02: each family has its ports for itself', async () => {
    const at = (hostIP: string) => ({ ...tcp, hostIP });
    expect((await add(0, mappings(at('0.0.0.0')))).status).toBe(0);
    expect((await add(1, mappings(at('::')))).status).toBe(0);
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
    expect(await who(far, { address: NODE.IPv6, port: 8080 })).toMatch(/^pod1 /);
    for (const [index, pod] of pods.entries()) await node.del(pod, { id: `c${index}` });
    expect((await add(0, mappings(at('0.0.0.0'), at('::')))).status).toBe(0);
    for (const address of Object.values(NODE)) expect(await who(far, { address, port: 8080 })).toMatch(/^pod0 /);
    await node.del(pods[0]!, { id: 'c0' });
    const [four, six] = ['10.88.0.0/24', 'fd00:88::/64'].map(subnet => ({
      ipam: { type: 'kproxy-cni', ranges: [[{ subnet }]] },
    }));
    expect((await add(0, { ...four, ...mappings(tcp) })).status).toBe(0);
    expect((await add(1, { ...six, ...mappings(tcp) })).status).toBe(0);
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
    expect(await who(far, { address: NODE.IPv6, port: 8080 })).toMatch(/^pod1 /);
  });

  test('P02: of two networks of one container, which both are asked for a port, the first has it, and the other is told', async () => {
    const first = await add(0, mappings(tcp));
    const second = { id: 'c0', ifname: 'eth1', config: { name: 'kp2', bridge: 'cni2', isDefaultGateway: false } };
    const ranges = { ipam: { type: 'kproxy-cni', ranges: [[{ subnet: '10.99.0.0/24' }]] } };
    const ports = mappings(tcp, { ...tcp, hostPort: 8081 });
    const call = { ...second, config: { ...second.config, ...ranges, ...ports } };
    const answer = await node.add(pods[0]!, call);
    expect(answer).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('hostPort 8080/tcp: kp/c0/eth0 has it'),
    });
    expect(answer.stderr).not.toContain('8081');
    expect(first.stderr).toBe('');
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toMatch(/^pod0 /);
    const config = { ...call.config, prevResult: answer.result };
    expect((await node.call({ verb: 'CHECK', pod: pods[0]!, ...call, config })).status).toBe(0);
    expect((await node.del(pods[0]!, call)).status).toBe(0);
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

  test('F07: after a damaged database is rebuilt from the kernel, pods have the hostPorts that they had', async () => {
    const atOne = { ...udp, hostPort: 8081, hostIP: NODE.IPv4 };
    await add(0, mappings(tcp, atOne, { ...tcp, hostPort: 8082, hostIP: '0.0.0.0' }));
    const leads = async () => {
      for (const address of Object.values(NODE))
        expect(await who(far, { address, port: 8080 })).toMatch(/^pod0 (192\.0\.2\.9|2001:db8::9)$/);
      expect(await who(far, { address: NODE.IPv4, port: 8081, protocol: 'udp' })).toMatch(/^pod0 /);
      expect(await who(far, { address: NODE.IPv4, port: 8082 })).toMatch(/^pod0 /);
      expect(await who(far, { address: NODE.IPv6, port: 8082 })).toBe('ECONNREFUSED');
    };
    const elements = async () => (await node.residue()).filter(line => line.includes(' . tcp . ')).sort();
    await leads();
    const before = await elements();
    expect(before).toHaveLength(3);
    await node.stopAgent();
    await writeFile(join(node.directory, 'state/cni.db'), 'this is no database');
    await node.startAgent();
    await leads();
    expect(await elements()).toEqual(before);
    for (const port of [tcp, atOne]) {
      const refused = await add(1, mappings(port));
      expect(refused).toMatchObject({ code: 102, message: expect.stringContaining('kp/c0/eth0') });
    }
    await node.del(pods[0]!, { id: 'c0' });
    expect(await who(far, { address: NODE.IPv4, port: 8080 })).toBe('ECONNREFUSED');
    expect((await add(1, mappings(tcp, atOne))).status).toBe(0);
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
