import { access, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CniNode } from './cni-node.ts';

const STOCK = '/usr/lib/cni';

/** Debian's bridge and host-local gave pods their network; then kproxy-cni takes their place, under the same name of the network. */
describe('a node whose pods have their network of the stock plugins', () => {
  let node: CniNode;
  let dataDir: string;
  let pods: string[];

  beforeAll(async () => {
    node = await CniNode.start('taken');
    dataDir = join(node.directory, 'networks');
    pods = await Promise.all(['one', 'two', 'young', 'other'].map(name => node.pod(name)));
    for (const index of [0, 1]) expect((await stock('ADD', index)).status).toBe(0);
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
  });

  const ipam = () => ({ type: 'host-local', dataDir, ranges: [[{ subnet: '10.88.0.0/24' }]] });
  const stock = (verb: 'ADD' | 'DEL', index: number) =>
    node.call({
      verb,
      pod: pods[index]!,
      id: `c${index}`,
      path: STOCK,
      program: join(STOCK, 'bridge'),
      config: { type: 'bridge', cniVersion: '1.0.0', ipMasq: false, ipam: ipam() },
    });
  const call = (verb: string, index: number) =>
    node.call({ verb, pod: pods[index]!, id: `c${index}`, config: { ipam: ipam() } });
  const files = async () => (await readdir(join(dataDir, 'kp'))).filter(name => name.startsWith('10.')).sort();
  const held = async () =>
    (await node.leases()).filter(({ state }) => state !== 'resting').map(({ address, state }) => `${address} ${state}`);

  test('I07: their addresses are held, and shown as what they are', async () => {
    expect(await files()).toEqual(['10.88.0.2', '10.88.0.3']);
    const added = await call('ADD', 2);
    expect(added.result.ips![0]!.address).toBe('10.88.0.4/24');
    expect(await held()).toEqual(['10.88.0.2 host-local', '10.88.0.3 host-local', '10.88.0.4 ready']);
    // Its bridge is used; old pods and new ones reach each other.
    await node.exec(['ping', '-c1', '-W2', '10.88.0.2'], node.nameOf(pods[2]!));
  });

  test('I07: DEL frees the address, with its file and the interface; twice is fine', async () => {
    for (const _ of [1, 2]) expect(await call('DEL', 0)).toMatchObject({ status: 0, stdout: '' });
    expect(await files()).toEqual(['10.88.0.3']);
    expect((await node.exec(['ip', '-o', 'link'], node.nameOf(pods[0]!))).stdout).not.toContain('eth0');
    expect(await held()).toEqual(['10.88.0.3 host-local', '10.88.0.4 ready']);
  });

  test('I07: the next agent knows them still; what host-local frees by itself is free here too', async () => {
    await node.stopAgent('SIGKILL');
    await node.startAgent();
    expect(await held()).toEqual(['10.88.0.3 host-local', '10.88.0.4 ready']);
    expect((await stock('DEL', 1)).status).toBe(0);
    await expect.poll(held, { timeout: 40_000, interval: 500 }).toEqual(['10.88.0.4 ready']);
  }, 60_000);

  test('I07, G01: GC takes those that the runtime no longer knows', async () => {
    const directory = join(dataDir, 'gone');
    await mkdir(directory);
    await writeFile(join(directory, '10.88.0.9'), 'dead\r\neth0');
    await writeFile(join(directory, '10.88.0.10'), 'alive');
    await writeFile(join(directory, '10.88.0.11'), '');
    const config = {
      name: 'gone',
      ipam: ipam(),
      'cni.dev/valid-attachments': [{ containerID: 'alive', ifname: 'eth0' }],
    };
    expect(await node.call({ verb: 'GC', config })).toMatchObject({ status: 0, stdout: '' });
    expect((await readdir(directory)).sort()).toEqual(['10.88.0.10', '10.88.0.11']);
  });

  test('I07, D04: another container’s DEL touches neither', async () => {
    await writeFile(join(dataDir, 'gone', '10.88.0.12'), 'mine\r\neth0');
    await node.exec(['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'x'], node.nameOf(pods[3]!));
    const config = { name: 'gone', ipam: ipam() };
    expect((await node.del(pods[3]!, { id: 'stranger', config })).status).toBe(0);
    expect((await node.exec(['ip', '-o', 'link'], node.nameOf(pods[3]!))).stdout).toContain('eth0');
    await access(join(dataDir, 'gone', '10.88.0.12'));
  });
});
