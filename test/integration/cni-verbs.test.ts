import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CniResult } from '../../src/cni/types.ts';
import { CniNode, IPV4, linkIn } from './cni-node.ts';

const tcp = (hostPort: number) => ({ portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }] });

describe('IPAM by the real executable', () => {
  let node: CniNode;
  beforeAll(async () => {
    node = await CniNode.start('ipam', IPV4);
  });
  afterAll(() => node[Symbol.asyncDispose]());

  const ranges = (name: string, subnet: string, more: object = {}) => ({
    name,
    bridge: `br-${name}`,
    ipam: { type: 'host-local', ranges: [[{ subnet, ...more }]] },
  });
  const ipOf = (result: CniResult) => result.ips?.[0]?.address;

  test('I01, I09: the next address, not the one that was just given back', async () => {
    const pod = await node.pod('i01');
    const config = ranges('i01', '10.91.1.0/24');
    expect(ipOf((await node.add(pod, { config })).result)).toBe('10.91.1.2/24');
    await node.del(pod, { config });
    expect(ipOf((await node.add(pod, { config })).result)).toBe('10.91.1.3/24');
    const [lease] = (await node.leases()).filter(({ state }) => state === 'ready');
    expect(lease).toMatchObject({ network: 'i01', containerID: 'c1', ifname: 'eth0', address: '10.91.1.3' });
    await node.del(pod, { config });
  });

  test('I02, S02: a range of one address', async () => {
    const [one, other] = [await node.pod('i02'), await node.pod('i02b')];
    const config = ranges('i02', '10.91.2.0/30');
    await node.add(one, { id: 'i02', config });
    const refused = await node.add(other, { id: 'i02b', config });
    expect(refused).toMatchObject({
      code: 100,
      message: expect.stringContaining('no IP addresses available in range set'),
    });
    expect(await linkIn(node, node.nameOf(other), 'eth0')).toBeUndefined();
    expect((await node.call({ verb: 'STATUS', config })).code).toBe(50);
    await node.del(one, { id: 'i02', config });
    expect(await node.call({ verb: 'STATUS', config })).toMatchObject({ status: 0, stdout: '' });
    expect((await node.add(other, { id: 'i02b', config })).status).toBe(0);
  });

  test('I03, I04, I10: addresses that somebody wishes', async () => {
    const pods = await Promise.all(['a', 'b', 'c', 'd'].map(name => node.pod(`i03${name}`)));
    const config = ranges('i03', '10.91.3.0/24');
    const byArgs = await node.add(pods[0]!, { id: 'a', args: 'IgnoreUnknown=1;IP=10.91.3.50', config });
    expect(ipOf(byArgs.result)).toBe('10.91.3.50/24');
    const byCapability = await node.add(pods[1]!, {
      id: 'b',
      config: { ...config, runtimeConfig: { ips: ['10.91.3.51/24'] } },
    });
    expect(ipOf(byCapability.result)).toBe('10.91.3.51/24');
    const note = { 'io.kubernetes.cri.pod-annotations': { 'kproxy-ts.dev/ips': '10.91.3.52' } };
    const byNote = await node.add(pods[2]!, { id: 'c', config: { ...config, runtimeConfig: note } });
    expect(ipOf(byNote.result)).toBe('10.91.3.52/24');
    const taken = await node.add(pods[3]!, { id: 'd', config: { ...config, args: { cni: { ips: ['10.91.3.50'] } } } });
    expect(taken).toMatchObject({ code: 101, message: expect.stringContaining('i03/a/eth0') });
    for (const ip of ['10.91.3.1', '10.91.3.0', '10.91.3.255', '10.99.0.1']) {
      const refused = await node.add(pods[3]!, { id: 'd', args: `IP=${ip}`, config });
      expect(refused.code, ip).toBe(101);
    }
    expect((await node.leases()).some(({ containerID }) => containerID === 'd')).toBe(false);
  });

  test('I06: all families or none', async () => {
    const [one, other] = [await node.pod('i06'), await node.pod('i06b')];
    const sets = [
      [{ subnet: '10.91.6.0/24' }],
      [{ subnet: 'fd00:91:6::/126', rangeStart: 'fd00:91:6::2', rangeEnd: 'fd00:91:6::2' }],
    ];
    const config = { name: 'i06', bridge: 'br-i06', ipam: { type: 'host-local', ranges: sets } };
    expect((await node.add(one, { id: 'i06', config })).result.ips).toHaveLength(2);
    expect((await node.add(other, { id: 'i06b', config })).code).toBe(100);
    expect((await node.leases()).some(({ containerID }) => containerID === 'i06b')).toBe(false);
  });

  test('I07: networks have pools of their own', async () => {
    const [one, other] = [await node.pod('i07'), await node.pod('i07b')];
    const added = [
      await node.add(one, { id: 'x', config: ranges('i07a', '10.91.7.0/24') }),
      await node.add(other, { id: 'x', config: { ...ranges('i07b', '10.91.7.0/24') } }),
    ];
    expect(added.map(({ result }) => ipOf(result))).toEqual(['10.91.7.2/24', '10.91.7.2/24']);
  });

  test('I07: a network that is renamed gives no address of a living pod again', async () => {
    const [old, young] = [await node.pod('i07old'), await node.pod('i07young')];
    const before = await node.add(old, { id: 'i07old' });
    await node.stopAgent();
    await node.startAgent();
    const renamed = { name: 'renamed' };
    const taken = ipOf(before.result)!.replace(/\/.*/, '');
    const next = await node.add(young, { id: 'i07young', config: renamed });
    expect(ipOf(next.result)).not.toBe(ipOf(before.result));
    const third = await node.pod('i07third');
    const asked = await node.add(third, { id: 'i07third', args: `IP=${taken}`, config: renamed });
    expect(asked).toMatchObject({ code: 101, message: expect.stringContaining('kp/i07old/eth0') });
    expect((await node.call({ verb: 'STATUS', config: renamed })).status).toBe(0);
    for (const [pod, id] of [
      [old, 'i07old'],
      [young, 'i07young'],
    ] as const) {
      await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pod));
      await node.del(pod, { id, config: id === 'i07old' ? {} : renamed });
    }
  });

  test('F15: the range of the node changes while pods live', async () => {
    const [old, young] = [await node.pod('f15'), await node.pod('f15b')];
    await node.add(old, { id: 'f15' });
    node.tell({ podCIDRs: ['10.89.0.0/24'], nonMasqueradeCIDRs: [] });
    const { result } = await node.add(young, { id: 'f15b' });
    expect(ipOf(result)).toBe('10.89.0.2/24');
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(old));
    await node.exec(['ping', '-c1', '-W1', '10.89.0.1'], node.nameOf(young));
  });
});

describe('CHECK, GC and STATUS by the real executable', () => {
  let node: CniNode;
  beforeAll(async () => {
    node = await CniNode.start('verbs', IPV4);
  });
  afterAll(() => node[Symbol.asyncDispose]());

  const check = (pod: string, prevResult: CniResult | undefined, more: object = {}) =>
    node.call({ verb: 'CHECK', pod, config: { ...(prevResult && { prevResult }), ...more } });

  test('K01, K02, K06, K08: right after ADD, and what others may change', async () => {
    const pod = await node.pod('k01');
    const { result } = await node.add(pod, { config: { runtimeConfig: tcp(8081) } });
    expect(await check(pod, result)).toMatchObject({ status: 0, stdout: '' });
    expect((await check(pod, result, { cniVersion: '0.3.1' })).code).toBe(1);
    expect((await check(pod, undefined)).code).toBe(7);
    expect((await node.call({ verb: 'CHECK', pod, id: 'unknown', config: { prevResult: result } })).code).toBe(3);
    const [, host] = result.interfaces!;
    await node.exec(['ip', 'addr', 'add', '10.9.9.9/32', 'dev', 'eth0'], node.nameOf(pod));
    await node.exec(['ip', 'route', 'add', '10.8.8.0/24', 'dev', 'eth0'], node.nameOf(pod));
    await node.exec(['ip', 'link', 'set', host!.name, 'address', '02:00:00:00:00:99']);
    expect(await check(pod, result)).toMatchObject({ status: 0, stdout: '' });
    await node.del(pod);
  });

  test("K06: the MAC that counts is the last result's", async () => {
    const pod = await node.pod('k06');
    const { result } = await node.add(pod, { id: 'k06' });
    const mac = '02:00:00:00:0A:06';
    await node.exec(['ip', 'link', 'set', 'eth0', 'address', mac], node.nameOf(pod));
    const interfaces = result.interfaces!.map(each => (each.name === 'eth0' ? { ...each, mac } : each));
    const checkWith = (prevResult: CniResult) => node.call({ verb: 'CHECK', id: 'k06', pod, config: { prevResult } });
    expect(await checkWith({ ...result, interfaces })).toMatchObject({ status: 0, stdout: '' });
    expect(await checkWith(result)).toMatchObject({ code: 103, message: expect.stringContaining('MAC') });
    await node.del(pod, { id: 'k06' });
  });

  test('K03: links, addresses and routes that are gone', async () => {
    const pod = await node.pod('k03');
    const name = node.nameOf(pod);
    const breaks: (readonly [string, ...string[]])[] = [
      ['ip', 'addr', 'del', 'ADDRESS', 'dev', 'eth0'],
      ['ip', 'route', 'del', 'default'],
      ['ip', 'link', 'del', 'eth0'],
    ];
    for (const command of breaks) {
      const { result } = await node.add(pod);
      const words = command.map(word => word.replace('ADDRESS', result.ips![0]!.address)) as [string, ...string[]];
      await node.exec(words, name);
      expect((await check(pod, result)).code, command.join(' ')).toBe(103);
      await node.del(pod);
    }
    const { result } = await node.add(pod);
    await node.exec(['ip', 'link', 'set', result.interfaces![1]!.name, 'down']);
    expect((await check(pod, result)).code).toBe(103);
    await node.del(pod);
  });

  test('K07: a network without addresses', async () => {
    const pod = await node.pod('k07');
    const config = { name: 'k07', bridge: 'br-k07', ipam: undefined };
    const { result } = await node.add(pod, { id: 'k07', config });
    expect(await node.call({ verb: 'CHECK', pod, id: 'k07', config: { ...config, prevResult: result } })).toMatchObject(
      { status: 0 },
    );
    await node.del(pod, { id: 'k07', config });
  });

  test('G01, G02, G04: what the runtime knows no longer goes, of this network', async () => {
    const pods = await Promise.all(['a', 'b', 'c', 'd'].map(name => node.pod(`g${name}`)));
    for (const [index, pod] of pods.slice(0, 3).entries())
      await node.add(pod, { id: `g${index}`, config: { runtimeConfig: tcp(9000 + index) } });
    await node.add(pods[0]!, { id: 'g0', ifname: 'net1', config: { isDefaultGateway: false } });
    await node.add(pods[3]!, {
      id: 'other',
      config: { name: 'other', bridge: 'br-other', ipam: { type: 'host-local', subnet: '10.92.0.0/24' } },
    });
    const valid = [0, 1].map(index => ({ containerID: `g${index}`, ifname: 'eth0' }));
    expect(await node.call({ verb: 'GC', config: { 'cni.dev/valid-attachments': valid } })).toMatchObject({
      status: 0,
      stdout: '',
    });
    const left = (await node.leases())
      .filter(({ state }) => state === 'ready')
      .map(({ containerID, ifname }) => `${containerID} ${ifname}`);
    expect(left.sort()).toEqual(['g0 eth0', 'g1 eth0', 'other eth0']);
    expect(await linkIn(node, node.nameOf(pods[2]!), 'eth0')).toBeUndefined();
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pods[1]!));
    expect((await node.call({ verb: 'GC', config: { 'cni.dev/valid-attachments': [] } })).status).toBe(0);
    expect((await node.leases()).filter(({ state }) => state === 'ready')).toMatchObject([{ containerID: 'other' }]);
    await node.del(pods[3]!, { id: 'other', config: { name: 'other' } });
  });

  test('G02, G03, G06: a list that is missing or wrong removes nothing', async () => {
    const pod = await node.pod('g03');
    await node.add(pod, { id: 'g03' });
    expect((await node.call({ verb: 'GC' })).code).toBe(7);
    expect((await node.call({ verb: 'GC', config: { 'cni.dev/valid-attachments': [{ containerID: 7 }] } })).code).toBe(
      7,
    );
    expect(
      (await node.call({ verb: 'GC', config: { cniVersion: '1.0.0', 'cni.dev/valid-attachments': [] } })).code,
    ).toBe(1);
    expect(
      (await node.call({ verb: 'GC', env: { CNI_PATH: undefined }, config: { 'cni.dev/valid-attachments': [] } })).code,
    ).toBe(4);
    expect((await linkIn(node, node.nameOf(pod), 'eth0'))?.flags).toContain('UP');
    const legacy = { 'cni.dev/attachments': [{ containerID: 'g03', ifname: 'eth0' }] };
    expect((await node.call({ verb: 'GC', config: legacy })).status).toBe(0);
    expect((await linkIn(node, node.nameOf(pod), 'eth0'))?.flags).toContain('UP');
    await node.del(pod, { id: 'g03' });
  });

  test('S04: while STATUS says that no address is left an ADD is tried, and a DEL works', async () => {
    const pods = await Promise.all(['s04', 's04b'].map(name => node.pod(name)));
    const config = {
      name: 's04',
      bridge: 'br-s04',
      ipam: { type: 'kproxy-cni', ranges: [[{ subnet: '10.91.4.0/30' }]] },
    };
    const status = () => node.call({ verb: 'STATUS', config });
    const { result } = await node.add(pods[0]!, { id: 's04', config });
    expect((await status()).code).toBe(50);
    expect((await node.add(pods[1]!, { id: 's04b', config })).code).toBe(100);
    // Another interface of the other pod needs no address.
    const without = { ...config, ipam: undefined };
    expect((await node.add(pods[1]!, { id: 's04b', ifname: 'net1', config: without })).status).toBe(0);
    expect((await status()).code).toBe(50);
    await node.exec(['ping', '-c1', '-W1', '10.91.4.1'], node.nameOf(pods[0]!));
    expect(await node.del(pods[1]!, { id: 's04b', config })).toMatchObject({ status: 0, stdout: '' });
    expect((await status()).code).toBe(50);
    expect(await node.del(pods[0]!, { id: 's04', config })).toMatchObject({ status: 0, stdout: '' });
    expect(await status()).toMatchObject({ status: 0, stdout: '' });
    const again = await node.add(pods[1]!, { id: 's04b', config });
    expect(again.result.ips).toEqual(result.ips);
    await node.del(pods[1]!, { id: 's04b', config });
    await node.del(pods[1]!, { id: 's04b', ifname: 'net1', config });
    expect(await node.residue()).toEqual([]);
  });

  test('S01, S03, F09: STATUS, and what somebody took away comes back', async () => {
    expect(await node.call({ verb: 'STATUS' })).toMatchObject({ status: 0, stdout: '' });
    expect((await node.call({ verb: 'STATUS', config: { cniVersion: '1.0.0' } })).code).toBe(1);
    const pod = await node.pod('s03');
    const { result } = await node.add(pod, { id: 's03', config: { runtimeConfig: tcp(8089) } });
    const before = await linkIn(node, node.netns, 'cni0');
    await node.exec(['nft', 'flush', 'ruleset']);
    await node.exec(['ip', 'link', 'del', 'cni0']);
    expect((await node.call({ verb: 'STATUS' })).code).toBeOneOf([0, 51]);
    await expect.poll(() => node.call({ verb: 'STATUS' }).then(({ status }) => status), { timeout: 6000 }).toBe(0);
    expect((await linkIn(node, node.netns, 'cni0'))?.address).toBe(before?.address);
    expect(await check(pod, result, {}).then(({ code }) => code)).toBe(3); // of container c1
    expect((await node.call({ verb: 'CHECK', pod, id: 's03', config: { prevResult: result } })).status).toBe(0);
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pod));
    await node.del(pod, { id: 's03' });
  });

  test('S03: a node without pod CIDRs can not take pods yet', async () => {
    const pod = await node.pod('s03b');
    node.tell({ ...IPV4, podCIDRs: [] });
    const status = () => node.call({ verb: 'STATUS' }).then(({ code }) => code);
    await expect.poll(status, { timeout: 9000 }).toBe(50);
    expect((await node.add(pod, { id: 's03b' })).code).toBe(11);
    node.tell(IPV4);
    await expect.poll(status, { timeout: 9000 }).toBe(0);
  });

  test('S03, K08, F04: without an agent', async () => {
    const pod = await node.pod('down');
    await node.stopAgent();
    expect((await node.call({ verb: 'STATUS' })).code).toBe(50);
    expect((await node.add(pod)).code).toBe(11);
    expect((await check(pod, { ips: [] })).code).toBe(11);
    await node.startAgent();
    expect((await node.call({ verb: 'STATUS' })).status).toBe(0);
  });

  test('N03, F13: no program is run for ADD, CHECK and DEL, so none has to be there', async () => {
    const pod = await node.pod('bare');
    await node.stopAgent();
    node.prepare = 'export PATH=/nonexistent';
    node.log.length = 0;
    await node.startAgent();
    const config = { runtimeConfig: { ...tcp(8090), bandwidth: { ingressRate: 1e6, ingressBurst: 1e6 } } };
    const { result } = await node.add(pod, { id: 'bare', config });
    const checked = await node.call({ verb: 'CHECK', pod, id: 'bare', config: { ...config, prevResult: result } });
    expect(checked).toMatchObject({ status: 0, stdout: '' });
    expect(await node.del(pod, { id: 'bare' })).toMatchObject({ status: 0, stdout: '' });
    expect(await node.residue()).toEqual([]);
    expect(node.log.filter(line => !line.startsWith('{"level":"info"'))).toEqual([]);
    await node.stopAgent();
    node.prepare = '';
    await node.startAgent();
  });

  test('F10: an agent that stands still: ADD and STATUS say so in time, a DEL waits on disk', async () => {
    const pod = await node.pod('still');
    await node.add(pod, { id: 'still' });
    node.signalAgent('SIGSTOP');
    const [status, add, del] = await Promise.all([
      node.call({ verb: 'STATUS' }),
      node.add(pod, { id: 'x' }),
      node.del(pod, { id: 'still' }),
    ]);
    node.signalAgent('SIGCONT');
    expect([status.code, add.code, del.status]).toEqual([50, 11, 0]);
    expect(status.milliseconds).toBeLessThan(2500);
    expect(add.milliseconds).toBeLessThan(11_000);
    await expect.poll(() => node.residue(), { timeout: 10_000 }).toEqual([]);
  });
});
