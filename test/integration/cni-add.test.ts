import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CniNode, DUAL, linkIn } from './cni-node.ts';

describe('ADD by the real executable', () => {
  let node: CniNode;
  beforeAll(async () => {
    node = await CniNode.start('add', DUAL);
  });
  afterAll(() => node[Symbol.asyncDispose]());

  /** A network with a range of its own, so that cases don't share a pool. */
  const network = (name: string, subnet: string, more: object = {}) => ({
    name,
    bridge: `br-${name}`,
    ipam: { type: 'host-local', ranges: [[{ subnet }]] },
    ...more,
  });

  test('A01, A02: the result says what the kernel has', async () => {
    const pod = await node.pod('a01');
    const { result } = await node.add(pod, { id: 'a01', config: network('a01', '10.90.1.0/24') });
    expect(result.interfaces?.map(({ name }) => name)).toEqual(['br-a01', expect.stringMatching(/^veth/), 'eth0']);
    expect(result.interfaces?.[2]?.sandbox).toBe(pod);
    expect(result.ips).toEqual([{ address: '10.90.1.2/24', gateway: '10.90.1.1', interface: 2 }]);
    expect(result.routes).toContainEqual({ dst: '0.0.0.0/0', gw: '10.90.1.1' });
    const [bridge, host, eth0] = result.interfaces!;
    const inPod = await linkIn(node, node.nameOf(pod), 'eth0');
    expect(inPod).toMatchObject({ address: eth0!.mac, flags: expect.arrayContaining(['UP']) });
    expect(inPod?.addr_info.filter(({ local }) => !local.startsWith('fe80'))).toMatchObject([
      { local: '10.90.1.2', prefixlen: 24 },
    ]);
    expect(await linkIn(node, node.netns, host!.name)).toMatchObject({ address: host!.mac, master: 'br-a01' });
    const onBridge = await linkIn(node, node.netns, 'br-a01');
    expect(onBridge).toMatchObject({ address: bridge!.mac, flags: expect.arrayContaining(['UP']) });
    expect(onBridge?.addr_info).toContainEqual(expect.objectContaining({ local: '10.90.1.1', prefixlen: 24 }));
    const { stdout } = await node.exec(['ip', 'route'], node.nameOf(pod));
    expect(stdout).toContain('default via 10.90.1.1 dev eth0');
    expect((await node.exec(['cat', '/proc/sys/net/ipv4/ip_forward'])).stdout).toBe('1\n');
  });

  test('A03: a gateway without the default route, and none at all', async () => {
    const [one, other] = [await node.pod('a03a'), await node.pod('a03b')];
    const only = { isDefaultGateway: false, isGateway: true };
    await node.add(one, { id: 'a03a', config: network('a03a', '10.90.2.0/24', only) });
    expect((await node.exec(['ip', 'route'], node.nameOf(one))).stdout).not.toContain('default');
    expect((await linkIn(node, node.netns, 'br-a03a'))?.addr_info).toContainEqual(
      expect.objectContaining({ local: '10.90.2.1' }),
    );
    await node.add(other, { id: 'a03b', config: network('a03b', '10.90.3.0/24', { isDefaultGateway: false }) });
    const none = (await linkIn(node, node.netns, 'br-a03b'))?.addr_info.filter(({ local }) => local.startsWith('10.'));
    expect(none).toEqual([]);
  });

  test('A04: without ipam the interface is up and has no address; 0.2.0 can not say that', async () => {
    const pod = await node.pod('a04');
    const { result } = await node.add(pod, { id: 'a04', config: { name: 'a04', bridge: 'br-a04', ipam: undefined } });
    expect(result.ips ?? []).toEqual([]);
    expect((await linkIn(node, node.nameOf(pod), 'eth0'))?.flags).toContain('UP');
    const early = await node.pod('a04b');
    const refused = await node.add(early, {
      id: 'a04b',
      config: { cniVersion: '0.2.0', name: 'a04', bridge: 'br-a04', ipam: undefined },
    });
    expect(refused.code).not.toBe(0);
    expect(await linkIn(node, node.nameOf(early), 'eth0')).toBeUndefined();
  });

  test('A05: both families of the node, usable at once', async () => {
    const pod = await node.pod('a05');
    const { result } = await node.add(pod, { id: 'a05' });
    expect(result.ips?.map(({ address }) => address)).toEqual(['10.88.0.2/24', 'fd00:88::2/64']);
    expect(result.routes?.map(({ dst }) => dst)).toEqual(['0.0.0.0/0', '::/0']);
    const inPod = await linkIn(node, node.nameOf(pod), 'eth0');
    expect(inPod?.addr_info.filter(({ tentative }) => tentative === true)).toEqual([]);
    const onBridge = (await linkIn(node, node.netns, 'cni0'))?.addr_info.map(({ local }) => local);
    expect(onBridge).toEqual(expect.arrayContaining(['10.88.0.1', 'fd00:88::1']));
    expect((await node.del(pod, { id: 'a05' })).status).toBe(0);
  });

  test('A06, A07, A08: routes with everything, the MTU, a MAC of three sources', async () => {
    const pod = await node.pod('a06');
    const routes = [
      { dst: '198.51.100.0/24', priority: 77, mtu: 1300, advmss: 1260 },
      { dst: '203.0.113.0/24', gw: '10.90.6.9', table: 100 },
    ];
    const config = network('a06', '10.90.6.0/24', {
      mtu: 1400,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.90.6.0/24' }]], routes },
      args: { cni: { mac: '02:00:00:00:00:02' } },
      runtimeConfig: { mac: '02:00:00:00:00:01' },
    });
    const { result } = await node.add(pod, { id: 'a06', args: 'MAC=02:00:00:00:00:03', config });
    expect(result.interfaces?.map(({ mtu }) => mtu)).toEqual([1400, 1400, 1400]);
    expect(result.interfaces?.[2]?.mac).toBe('02:00:00:00:00:01');
    const { stdout } = await node.exec(['ip', 'route', 'show', 'table', 'all'], node.nameOf(pod));
    expect(stdout).toMatch(/198\.51\.100\.0\/24 via 10\.90\.6\.1 dev eth0 .*metric 77 mtu 1300 advmss 1260/);
    expect(stdout).toMatch(/203\.0\.113\.0\/24 via 10\.90\.6\.9 dev eth0 table 100/);
  });

  test('A12: an interface that stays down has no use for addresses', async () => {
    const pod = await node.pod('a12');
    const refused = await node.add(pod, {
      id: 'a12',
      config: network('a12', '10.90.12.0/24', { disableContainerInterface: true }),
    });
    expect(refused).toMatchObject({ code: 7, message: expect.stringContaining('disableContainerInterface') });
    const alone = await node.add(pod, {
      id: 'a12',
      config: { name: 'a12', bridge: 'br-a12', ipam: undefined, disableContainerInterface: true },
    });
    expect(alone.status).toBe(0);
    expect((await linkIn(node, node.nameOf(pod), 'eth0'))?.flags).not.toContain('UP');
  });

  test('A13, A14: the same ADD again changes nothing; another interface is another attachment', async () => {
    const pod = await node.pod('a13');
    const first = await node.add(pod, { id: 'a13', config: network('a13', '10.90.13.0/24') });
    const before = (await node.exec(['ip', '-d', 'addr'], node.nameOf(pod))).stdout.replaceAll(/ttl|lft.*/g, '');
    const again = await node.add(pod, { id: 'a13', config: network('a13', '10.90.13.0/24') });
    expect(again).toMatchObject({ code: 106, message: expect.stringContaining('already exists') });
    expect((await node.exec(['ip', '-d', 'addr'], node.nameOf(pod))).stdout.replaceAll(/ttl|lft.*/g, '')).toBe(before);
    const net1 = await node.add(pod, {
      id: 'a13',
      ifname: 'net1',
      config: network('a13', '10.90.13.0/24', { isDefaultGateway: false, isGateway: true }),
    });
    expect(net1.result.ips?.[0]?.address).toBe('10.90.13.3/24');
    expect((await node.del(pod, { id: 'a13', ifname: 'net1', config: network('a13', '10.90.13.0/24') })).status).toBe(
      0,
    );
    expect((await linkIn(node, node.nameOf(pod), 'eth0'))?.address).toBe(first.result.interfaces?.[2]?.mac);
  });

  test('A15: an interface of that name stays, and nothing is left', async () => {
    const pod = await node.pod('a15');
    await node.exec(['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other'], node.nameOf(pod));
    const refused = await node.add(pod, { id: 'a15', config: network('a15', '10.90.15.0/24') });
    expect(refused.code).toBe(106);
    expect(await linkIn(node, node.nameOf(pod), 'other')).toBeDefined();
    expect(
      (await node.leases()).filter(({ containerID, state }) => containerID === 'a15' && state !== 'resting'),
    ).toEqual([]);
    expect((await node.exec(['ip', 'link'])).stdout).not.toContain('kp-a15');
  });

  test('A17: an address in the way', async () => {
    await node.exec(['ip', 'link', 'add', 'br-a17', 'type', 'bridge']);
    await node.exec(['ip', 'addr', 'add', '10.78.0.1/24', 'dev', 'br-a17']);
    const pod = await node.pod('a17');
    const refused = await node.add(pod, { id: 'a17', config: network('a17', '10.90.17.0/24') });
    expect(refused.code).toBe(105);
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    const forced = await node.add(pod, { id: 'a17', config: network('a17', '10.90.17.0/24', { forceAddress: true }) });
    expect(forced.status).toBe(0);
    const addresses = (await linkIn(node, node.netns, 'br-a17'))?.addr_info.map(({ local }) => local);
    expect(addresses).toContain('10.90.17.1');
    expect(addresses).not.toContain('10.78.0.1');
  });

  test('A24, C03: what the configuration says of DNS, and what the runtime does', async () => {
    const [one, other] = [await node.pod('a24'), await node.pod('a24b')];
    const dns = { nameservers: ['10.96.0.10'], search: ['svc.cluster.local'] };
    const own = await node.add(one, { id: 'a24', config: network('a24', '10.90.24.0/24', { dns }) });
    expect(own.result.dns).toEqual(dns);
    const runtimeConfig = { dns: { servers: ['10.96.0.11'], searches: ['x.example'], options: ['ndots:5'] } };
    const wished = await node.add(other, {
      id: 'a24b',
      config: network('a24', '10.90.24.0/24', { dns, runtimeConfig }),
    });
    expect(wished.result.dns).toEqual({ nameservers: ['10.96.0.11'], search: ['x.example'], options: ['ndots:5'] });
  });

  test.each([
    ['E12', { mtu: 70_000 }, 'mtu'],
    ['E12', { runtimeConfig: { mac: 'zz' } }, 'runtimeConfig.mac'],
    ['E12', { hairpinMode: true, promiscMode: true }, 'promiscMode'],
    ['E12', { vlan: 4095 }, 'vlan'],
    ['E12', { vlan: -1 }, 'vlan'],
    ['E12', { vlanTrunk: [{ minID: 9, maxID: 3 }] }, 'vlanTrunk[0]'],
    ['E15', { ipam: { type: 'host-local', subnet: '10.1.2.3/24' } }, 'ipam.subnet'],
    ['E15', { ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/31' }]] } }, 'ipam.ranges[0][0].subnet'],
    [
      'E15',
      {
        ipam: {
          type: 'host-local',
          ranges: [[{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.9', rangeEnd: '10.1.2.3' }]],
        },
      },
      'ipam.ranges[0][0]',
    ],
    [
      'P03',
      { runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 80, protocol: 'tcp' }] } },
      'runtimeConfig.portMappings[0].hostPort',
    ],
    [
      'P03',
      { runtimeConfig: { portMappings: [{ hostPort: 70_000, containerPort: 80, protocol: 'tcp' }] } },
      'runtimeConfig.portMappings[0].hostPort',
    ],
    [
      'P04',
      { runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: '' }] } },
      'runtimeConfig.portMappings[0].protocol',
    ],
    [
      'P04',
      { runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp', hostIP: 'x' }] } },
      'runtimeConfig.portMappings[0].hostIP',
    ],
    ['C02', { runtimeConfig: { bandwidth: { ingressRate: 1000 } } }, 'ingressBurst'],
    ['C02', { runtimeConfig: { bandwidth: { ingressRate: -1, ingressBurst: 5 } } }, 'ingressRate'],
    [
      'I10',
      { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'kproxy-ts.dev/ips': 'ten' } } },
      'kproxy-ts.dev/ips',
    ],
  ])('%s %j: refused before any link exists, by the name of the field', async (_case, more, field) => {
    const pod = await node.pod(`bad${Math.random().toString(36).slice(2, 8)}`);
    const answer = await node.add(pod, { id: 'bad', config: { name: 'bad', bridge: 'br-bad', ...more } });
    expect(answer).toMatchObject({ code: 7, message: expect.stringContaining(field) });
    expect(await linkIn(node, node.netns, 'br-bad')).toBeUndefined();
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect((await node.del(pod, { id: 'bad', config: { name: 'bad', ...more } })).status).toBe(0);
    await node.removePod(pod);
  });

  test('E13: a link that is no bridge stays as it is', async () => {
    await node.exec(['ip', 'link', 'add', 'br-e13', 'type', 'veth', 'peer', 'name', 'e13b']);
    const pod = await node.pod('e13');
    expect((await node.add(pod, { id: 'e13', config: network('e13', '10.91.13.0/24') })).code).toBe(105);
    expect((await node.exec(['ip', '-d', 'link', 'show', 'br-e13'])).stdout).toContain('veth');
  });
});
