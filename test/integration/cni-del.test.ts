import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CniNode, IPV4, linkIn } from './cni-node.ts';

const port = (hostPort: number, protocol = 'tcp') => ({ portMappings: [{ hostPort, containerPort: 80, protocol }] });

describe('DEL by the real executable', () => {
  let node: CniNode;
  let pod: string;
  beforeAll(async () => {
    node = await CniNode.start('del', IPV4);
    pod = await node.pod('one');
  });
  afterAll(() => node[Symbol.asyncDispose]());

  const clean = async () => expect(await node.residue()).toEqual([]);

  test('D01: everything but the bridge goes, again and again', async () => {
    expect((await node.del(pod, { id: 'nobody' })).status).toBe(0);
    await node.add(pod, { config: { runtimeConfig: port(8080) } });
    expect((await node.residue()).length).toBeGreaterThan(0);
    for (let times = 0; times < 3; times += 1) expect(await node.del(pod)).toMatchObject({ status: 0, stdout: '' });
    await clean();
    expect(await linkIn(node, node.netns, 'cni0')).toBeDefined();
  });

  test('D02, D03: without the namespace, and without its name while it lives', async () => {
    const gone = await node.pod('gone');
    await node.add(gone, { id: 'gone' });
    await node.removePod(gone);
    expect((await node.del(gone, { id: 'gone' })).status).toBe(0);
    await clean();
    await node.add(pod);
    expect((await node.del('')).status).toBe(0);
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    await clean();
  });

  test('D04: another container with this namespace takes nothing', async () => {
    await node.add(pod);
    expect((await node.del(pod, { id: 'c2' })).status).toBe(0);
    expect((await linkIn(node, node.nameOf(pod), 'eth0'))?.flags).toContain('UP');
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pod));
    await node.del(pod);
    await clean();
  });

  test.each([
    ['without ranges', { ipam: { type: 'host-local', ranges: [[{ subnet: 'x' }]] } }],
    ['with another bridge', { bridge: 'other0' }],
    ['with a wrong field', { mtu: 'x', runtimeConfig: { portMappings: 7 } }],
    ['with an IPAM plugin that is not there', { ipam: { type: 'nowhere' } }],
  ])('D05: a configuration that is now %s', async (_what, config) => {
    await node.add(pod, { config: { runtimeConfig: port(8080, 'udp') } });
    expect(await node.del(pod, { config })).toMatchObject({ status: 0, stdout: '' });
    await clean();
  });

  test('D06: a version that is not ours removes nothing', async () => {
    await node.add(pod);
    expect((await node.del(pod, { config: { cniVersion: '9.9.9' } })).code).toBe(1);
    expect((await linkIn(node, node.nameOf(pod), 'eth0'))?.flags).toContain('UP');
    await node.del(pod);
  });

  test.each([
    ['absent', undefined],
    ['empty', {}],
    ['of another address', { cniVersion: '1.1.0', ips: [{ address: '10.88.0.99/24' }] }],
  ])('D07: a prevResult that is %s makes no difference', async (_what, prevResult) => {
    await node.add(pod);
    expect((await node.del(pod, { config: prevResult === undefined ? {} : { prevResult } })).status).toBe(0);
    await clean();
  });

  test('D08: whatever the pod made of its interface', async () => {
    await node.add(pod);
    const name = node.nameOf(pod);
    await node.exec(['ip', 'link', 'set', 'eth0', 'down'], name);
    await node.exec(['ip', 'link', 'set', 'eth0', 'name', 'renamed'], name);
    await node.exec(['ip', 'addr', 'add', '10.9.9.9/32', 'dev', 'renamed'], name);
    expect((await node.del(pod)).status).toBe(0);
    await clean();
  });

  test('D10: without an agent DELs wait on disk, through a kill -9, and are done by the next one', async () => {
    const other = await node.pod('other');
    await node.add(pod);
    await node.add(other, { id: 'c2' });
    await node.stopAgent('SIGKILL');
    const answers = await Promise.all([node.del(pod), node.del(other, { id: 'c2' }), node.del('', { id: 'unknown' })]);
    for (const answer of answers) expect(answer).toMatchObject({ status: 0, stdout: '' });
    for (const { milliseconds } of answers) expect(milliseconds).toBeLessThan(1500);
    await node.startAgent();
    await clean();
    // An ADD under the same name comes after the DEL that waits for it.
    await node.add(pod);
    await node.stopAgent();
    await node.del(pod);
    await node.startAgent();
    expect((await node.add(pod)).status).toBe(0);
    await node.del(pod);
    await clean();
  });

  test('N01: many at once, each with an address of its own, one bridge with one MAC; then nothing is left', async () => {
    const pods = await Promise.all(Array.from({ length: 30 }, (_, index) => node.pod(`n${index}`)));
    const added = await Promise.all(pods.map((path, index) => node.add(path, { id: `n${index}` })));
    expect(new Set(added.map(({ result }) => result.ips?.[0]?.address)).size).toBe(pods.length);
    expect(new Set(added.map(({ result }) => result.interfaces?.[0]?.mac)).size).toBe(1);
    const removed = await Promise.all(pods.map((path, index) => node.del(path, { id: `n${index}` })));
    expect(removed.filter(({ status }) => status !== 0)).toEqual([]);
    await clean();
    await Promise.all(pods.map(path => node.removePod(path)));
  });
});
