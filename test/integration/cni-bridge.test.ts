import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CniIP } from '../../src/cni/types.ts';
import { callsOf, givenBy } from './cni-ipam.ts';
import { type Call, CniNode, DUAL, linkIn } from './cni-node.ts';

describe('bridges by the real executable, with addresses that another plugin gives', () => {
  let node: CniNode;
  let idle: string;
  beforeAll(async () => {
    node = await CniNode.start('bridge', DUAL);
    idle = await node.pod('idle');
  });
  afterAll(() => node[Symbol.asyncDispose]());

  const network = async (name: string, ips: readonly CniIP[], more: object = {}) => ({
    name,
    bridge: `br-${name}`,
    ipam: { type: await givenBy(node, `ipam-${name}`, { ips }) },
    ...more,
  });
  const call = (config: object, id: string) => ({ id, config, path: node.directory });
  const onBridge = async (name: string) =>
    (await linkIn(node, node.netns, name))?.addr_info.filter(({ local }) => !local.startsWith('fe80'));

  test('A01, A02: a gateway that nobody names is the first address of the network', async () => {
    const pod = await node.pod('gw');
    const config = await network('gw', [{ address: '10.20.0.5/24' }, { address: 'fd20::5/64' }]);
    const { result } = await node.add(pod, call(config, 'gw'));
    expect(result.ips).toEqual([
      { address: '10.20.0.5/24', gateway: '10.20.0.1', interface: 2 },
      { address: 'fd20::5/64', gateway: 'fd20::1', interface: 2 },
    ]);
    expect(result.routes).toEqual([
      { dst: '0.0.0.0/0', gw: '10.20.0.1' },
      { dst: '::/0', gw: 'fd20::1' },
    ]);
    expect(await onBridge('br-gw')).toMatchObject([
      { local: '10.20.0.1', prefixlen: 24 },
      { local: 'fd20::1', prefixlen: 64 },
    ]);
    const name = node.nameOf(pod);
    expect((await node.exec(['ip', 'route'], name)).stdout).toContain('default via 10.20.0.1 dev eth0');
    expect((await node.exec(['ip', '-6', 'route'], name)).stdout).toContain('default via fd20::1 dev eth0');
    await node.exec(['ping', '-c', '1', '-W', '9', '10.20.0.1'], name);
    const checked = { ...config, prevResult: result };
    expect(await node.call({ verb: 'CHECK', pod, ...call(checked, 'gw') })).toMatchObject({ status: 0 });
    await node.exec(['ip', 'addr', 'del', '10.20.0.1/24', 'dev', 'br-gw']);
    const failed = await node.call({ verb: 'CHECK', pod, ...call(checked, 'gw') });
    expect(failed).toMatchObject({ code: 103, message: expect.stringContaining('10.20.0.1/24') });
    expect((await node.del(pod, call(config, 'gw'))).status).toBe(0);
  });

  test('A03: isGateway alone: the bridge has the address, the pod no default route; without it there is neither', async () => {
    const [one, other] = [await node.pod('only'), await node.pod('none')];
    const only = await network('only', [{ address: '10.20.1.5/24' }], { isDefaultGateway: false, isGateway: true });
    expect((await node.add(one, call(only, 'only'))).result.ips?.[0]?.gateway).toBe('10.20.1.1');
    expect(await onBridge('br-only')).toMatchObject([{ local: '10.20.1.1', prefixlen: 24 }]);
    expect((await node.exec(['ip', 'route'], node.nameOf(one))).stdout).not.toContain('default');
    const none = await network('none', [{ address: '10.20.2.5/24' }], { isDefaultGateway: false });
    expect((await node.add(other, call(none, 'none'))).result.ips?.[0]).not.toHaveProperty('gateway');
    expect(await onBridge('br-none')).toEqual([]);
  });

  test('A02: the pod can not be its own gateway', async () => {
    const pod = await node.pod('self');
    const refused = await node.add(pod, call(await network('self', [{ address: '10.20.3.1/24' }]), 'self'));
    expect(refused).toMatchObject({ code: 7, message: expect.stringContaining('10.20.3.1') });
    expect(await linkIn(node, node.netns, 'br-self')).toBeUndefined();
  });

  test('A07: a link too small for IPv6 does without; E12: with an IPv6 address it is refused', async () => {
    const [one, other] = [await node.pod('mtu'), await node.pod('mtu6')];
    const config = { name: 'mtu', bridge: 'br-mtu', mtu: 1200, ipam: { type: 'host-local', subnet: '10.20.6.0/24' } };
    const { result } = await node.add(one, { id: 'mtu', config });
    expect(result.interfaces?.map(({ mtu }) => mtu)).toEqual([1200, 1200, 1200]);
    await node.exec(['ping', '-c', '1', '-W', '9', '10.20.6.1'], node.nameOf(one));
    const check = { verb: 'CHECK', id: 'mtu', pod: one, config: { ...config, prevResult: result } };
    expect(await node.call(check)).toMatchObject({ status: 0 });
    expect((await node.add(other, { id: 'mtu2', config })).result.ips).toHaveLength(1);
    const both = [[{ subnet: '10.20.7.0/24' }], [{ subnet: 'fd20:7::/64' }]];
    const given = await givenBy(node, 'ipam-mtu6', { ips: [{ address: 'fd20:7::9/64' }] });
    for (const ipam of [{ type: 'host-local', ranges: both }, { type: given }]) {
      const small = { name: 'mtu6', bridge: 'br-mtu6', mtu: 1279, ipam };
      const refused = await node.add(other, { ...call(small, 'mtu6'), ifname: 'net1' });
      expect(refused).toMatchObject({ code: 7, message: expect.stringContaining('mtu') });
    }
    expect(await linkIn(node, node.netns, 'br-mtu6')).toBeUndefined();
    expect((await node.leases()).filter(({ containerID }) => containerID === 'mtu6')).toEqual([]);
    expect(await callsOf(node, 'ipam-mtu6')).toMatchObject(
      [/^ADD mtu6/, /^DEL mtu6/].map(each => expect.stringMatching(each)),
    );
  });

  test('D05: who gave the addresses has them back, whatever the configuration is by then', async () => {
    const pod = await node.pod('former');
    const config = await network('former', [{ address: '10.20.8.5/24' }]);
    const changed = { ...config, ipam: { type: 'host-local', subnet: '10.20.8.0/24' } };
    expect((await node.add(pod, call(config, 'former'))).status).toBe(0);
    const deleted = await node.del(pod, call(changed, 'former'));
    expect([deleted.status, deleted.stderr]).toEqual([0, expect.stringContaining('ipam-former')]);
    const last = (await callsOf(node, 'ipam-former')).at(-1);
    expect(last).toMatch(/^DEL former .*"ipam":\{"type":"ipam-former"\}/);
    expect((await node.del(pod, call(changed, 'former'))).stderr).toBe('');
    expect(await callsOf(node, 'ipam-former')).toHaveLength(2);
    expect((await node.add(pod, call(config, 'former'))).status).toBe(0);
    await node.stopAgent();
    expect((await node.del(pod, call(changed, 'former'))).status).toBe(0);
    await node.startAgent();
    expect(node.log.join()).toContain('does not know that they are free');
    expect((await node.leases()).filter(({ network: name }) => name === 'former')).toEqual([]);
  });

  test('A06: one destination by two gateways, and one route twice', async () => {
    const pod = await node.pod('paths');
    const routes = [
      ...['10.20.9.8', '10.20.9.9'].map(gw => ({ dst: '198.51.100.0/24', gw })),
      ...['fd20:9::8', 'fd20:9::9'].map(gw => ({ dst: '2001:db8:9::/48', gw })),
      { dst: '203.0.113.0/24' },
      { dst: '203.0.113.0/24' },
    ];
    const ranges = [[{ subnet: '10.20.9.0/24' }], [{ subnet: 'fd20:9::/64' }]];
    const config = { name: 'paths', bridge: 'br-paths', ipam: { type: 'host-local', ranges, routes } };
    const { result } = await node.add(pod, { id: 'paths', config });
    const name = node.nameOf(pod);
    expect((await node.exec(['ip', 'route', 'get', '198.51.100.7'], name)).stdout).toContain('via 10.20.9.9');
    const shown = (await node.exec(['ip', 'route'], name)).stdout;
    expect(shown).toContain('198.51.100.0/24 via 10.20.9.8');
    expect(shown.match(/203\.0\.113\.0/g)).toHaveLength(1);
    const shown6 = (await node.exec(['ip', '-6', 'route'], name)).stdout;
    for (const gw of ['fd20:9::8', 'fd20:9::9']) expect(shown6).toContain(`via ${gw}`);
    const check = () => node.call({ verb: 'CHECK', id: 'paths', pod, config: { ...config, prevResult: result } });
    expect(await check()).toMatchObject({ status: 0 });
    await node.exec(['ip', 'route', 'del', '2001:db8:9::/48', 'via', 'fd20:9::9'], name);
    expect(await check()).toMatchObject({ code: 103, message: expect.stringContaining('fd20:9::9') });
  });

  test('A06: a gateway out of reach is refused, but for that of an address', async () => {
    const [one, other] = [await node.pod('far'), await node.pod('own')];
    const ipam = { type: 'host-local', subnet: '10.20.10.0/24', routes: [{ dst: '10.9.0.0/16', gw: '1.2.3.4' }] };
    const refused = await node.add(one, { id: 'far', config: { name: 'far', bridge: 'br-far', ipam } });
    expect(refused).toMatchObject({ code: 103, message: expect.stringContaining('1.2.3.4') });
    expect(await linkIn(node, node.nameOf(one), 'eth0')).toBeUndefined();
    const ips = [{ address: '10.20.11.5/32', gateway: '169.254.1.1' }];
    expect((await node.add(other, call(await network('own', ips), 'own'))).status).toBe(0);
    expect((await node.exec(['ip', 'route'], node.nameOf(other))).stdout).toContain('default via 169.254.1.1');
  });

  const nested = (levels: number) =>
    `{"cniVersion":"1.1.0","name":"deep","ipam":${'['.repeat(levels)}${']'.repeat(levels)}}`;
  test.each<[string, Partial<Call>, number]>([
    ['E03 a letter of two bytes', { ifname: 'eä' }, 4],
    ['E03 a pattern', { ifname: 'eth%d' }, 4],
    ['E12 letters of two bytes', { config: { bridge: 'brü' } }, 7],
    ['E12 a pattern', { config: { bridge: 'br%d' } }, 7],
    ['E04 20 000 levels', { stdin: nested(20_000) }, 6],
    ['E04 a million levels', { stdin: nested(1e6) }, 6],
  ])('%s is refused', async (_what, more, code) => {
    const links = async () =>
      (JSON.parse((await node.exec(['ip', '-j', 'link'])).stdout) as { ifname: string }[]).map(({ ifname }) => ifname);
    const before = await links();
    const answer = await node.call({ verb: 'ADD', pod: idle, ...more });
    expect([answer.code, await links()]).toEqual([code, before]);
    expect((JSON.parse(answer.stdout) as { cniVersion?: string }).cniVersion).toBe('1.1.0');
  });

  test('A14: two interfaces with a default route each; with one of them its own goes', async () => {
    const pod = await node.pod('twice');
    const config = (name: string, subnet: string) => ({
      name,
      bridge: `br-${name}`,
      ipam: { type: 'host-local', subnet },
    });
    const [first, second] = [config('first', '10.20.13.0/24'), config('second', '10.20.14.0/24')];
    const { result } = await node.add(pod, { id: 'twice', config: first });
    expect((await node.add(pod, { id: 'twice', ifname: 'net1', config: second })).status).toBe(0);
    const defaults = async () => (await node.exec(['ip', 'route', 'show', 'default'], node.nameOf(pod))).stdout;
    expect(await defaults()).toMatch(/10\.20\.14\.1 dev net1[\s\S]*10\.20\.13\.1 dev eth0/);
    expect((await node.del(pod, { id: 'twice', ifname: 'net1', config: second })).status).toBe(0);
    expect(await defaults()).toMatch(/^default via 10\.20\.13\.1 dev eth0\s*$/);
    const check = { verb: 'CHECK', id: 'twice', pod, config: { ...first, prevResult: result } };
    expect(await node.call(check)).toMatchObject({ status: 0 });
  });

  test('S02: of several sets of ranges STATUS names those that are full', async () => {
    const pod = await node.pod('full');
    const ranges = [[{ subnet: '10.20.12.0/30' }], [{ subnet: 'fd20:12::/64' }]];
    const config = { name: 'full', bridge: 'br-full', ipam: { type: 'host-local', ranges } };
    expect((await node.add(pod, { id: 'full', config })).status).toBe(0);
    const answer = await node.call({ verb: 'STATUS', config });
    expect(answer).toMatchObject({ code: 50, message: expect.stringContaining('10.20.12.2') });
    expect(answer.message).not.toContain('fd20:12');
  });

  test('A02: addresses of one network share the gateway', async () => {
    const [one, other] = [await node.pod('two'), await node.pod('sets')];
    const given = [{ address: '10.20.4.5/24', gateway: '10.20.4.1' }, { address: '10.20.4.6/24' }];
    expect((await node.add(one, call(await network('two', given), 'two'))).result.ips).toHaveLength(2);
    expect(await onBridge('br-two')).toMatchObject([{ local: '10.20.4.1' }]);
    const ranges = [
      [{ subnet: '10.20.5.0/24', rangeEnd: '10.20.5.99' }],
      [{ subnet: '10.20.5.0/24', rangeStart: '10.20.5.100' }],
    ];
    const sets = { name: 'sets', bridge: 'br-sets', ipam: { type: 'host-local', ranges } };
    const { result } = await node.add(other, { id: 'sets', config: sets });
    expect(result.ips?.map(({ address }) => address)).toEqual(['10.20.5.2/24', '10.20.5.100/24']);
    expect(await onBridge('br-sets')).toMatchObject([{ local: '10.20.5.1' }]);
  });
});
