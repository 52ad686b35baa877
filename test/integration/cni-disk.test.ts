import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../src/linux/exec.ts';
import { type Answer, CniNode } from './cni-node.ts';

describe('the disk that attachments are kept on', () => {
  let node: CniNode;
  let pods: string[];
  let state: string;

  beforeAll(async () => {
    node = await CniNode.start('disk');
    pods = await Promise.all(['one', 'two'].map(name => node.pod(name)));
    state = join(node.directory, 'state');
  });
  afterEach(async () => {
    for (const [index, pod] of pods.entries()) await node.del(pod, { id: `c${index}` });
    expect(await node.residue()).toEqual([]);
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
  });

  const add = (index: number) => node.add(pods[index]!, { id: `c${index}` });
  const status = () => node.call({ verb: 'STATUS' });
  const linksOf = async (index: number) => (await node.exec(['ip', '-o', 'link'], node.nameOf(pods[index]!))).stdout;
  const restart = async (prepare: string) => {
    await node.stopAgent();
    node.prepare = prepare;
    await node.startAgent();
  };
  const inAgent = (line: string) => run('nsenter', ['-t', String(node.agentPid), '-m', 'sh', '-ec', line]);

  /** What holds of a disk that can't be written: ADD is 104 and leaves nothing, DEL works, STATUS says 50. */
  async function isRefused(): Promise<void> {
    const refused: Answer = await add(1);
    expect(refused).toMatchObject({ code: 104, message: expect.stringContaining('state') });
    expect(await linksOf(1)).not.toContain('eth0');
    expect((await status()).code).toBe(50);
    expect(await node.del(pods[1]!, { id: 'c1' })).toMatchObject({ status: 0, stdout: '' });
  }

  async function worksAgain(): Promise<void> {
    expect((await add(1)).status).toBe(0);
    expect((await status()).stdout).toBe('');
  }

  test('F06: full', async () => {
    await restart(`mount -t tmpfs -o size=1m tmpfs ${state}`);
    expect((await add(0)).status).toBe(0);
    await inAgent(`cat /dev/zero > ${state}/filler || true`);
    await isRefused();
    expect(await node.del(pods[0]!, { id: 'c0' })).toMatchObject({ status: 0, stdout: '' });
    await inAgent(`rm ${state}/filler`);
    await worksAgain();
  });

  test('F06: read-only from the start, and a file where the directory should be', async () => {
    for (const [prepare, repair] of [
      [`mount -t tmpfs -o ro tmpfs ${state}`, `mount -o remount,rw ${state}`],
      [
        `mount -t tmpfs tmpfs ${node.directory}/state; rm -rf ${node.directory}/below; touch ${node.directory}/below`,
        '',
      ],
    ] as const) {
      node.more = repair === '' ? { stateDirectory: join(node.directory, 'below/state') } : {};
      await restart(prepare);
      await isRefused();
      await inAgent(repair === '' ? `rm ${node.directory}/below` : repair);
      await worksAgain();
      await node.del(pods[1]!, { id: 'c1' });
    }
    node.more = {};
    await restart('');
  });

  test('F06: a disk that can not be read at the start cuts no living pod off, and is read when it can be', async () => {
    const gateway = () => node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pods[0]!));
    const { result } = await add(0);
    await restart(`mount -t tmpfs -o ro tmpfs ${state}`);
    await gateway();
    await isRefused();
    await gateway();
    await inAgent(`mount -o remount,rw ${state}`);
    // The first thing that is asked for is given with all that is known.
    expect((await add(1)).result.ips).not.toEqual(result.ips);
    expect((await status()).stdout).toBe('');
    const ready = (await node.leases()).filter(lease => lease.state === 'ready');
    expect(ready.map(({ containerID }) => containerID).sort()).toEqual(['c0', 'c1']);
    expect(`${ready.find(({ containerID }) => containerID === 'c0')!.address}/24`).toBe(result.ips![0]!.address);
    await node.del(pods[1]!, { id: 'c1' });
    const masqueraded = async () => (await node.exec(['nft', 'list', 'ruleset'])).stdout;
    await expect.poll(masqueraded, { timeout: 30_000 }).toContain('comment "kp/c0/eth0"');
    await restart('');
  });

  test('F06: a directory that goes while the agent runs is made again, with what was in it', async () => {
    const { result } = await add(0);
    await run('rm', ['-r', state]);
    expect((await add(1)).result.ips).not.toEqual(result.ips);
    await restart('');
    expect((await node.leases()).filter(lease => lease.state === 'ready')).toHaveLength(2);
  });

  test('F07: a row that makes no sense is passed over, loudly, and the others are whole', async () => {
    const [one, two] = [await add(0), await add(1)];
    await node.stopAgent();
    const script = `const { DatabaseSync } = require('node:sqlite');
      const db = new DatabaseSync(process.argv[1]);
      db.exec("UPDATE attachments SET value = '{\\"garbage' WHERE container = 'c0'");`;
    await run(process.execPath, ['-e', script, join(state, 'cni.db')]);
    await node.startAgent();
    const ready = (await node.leases()).filter(lease => lease.state === 'ready');
    const addressOf = ({ result }: Answer) => result.ips![0]!.address.replace(/\/.*/, '');
    // What the row said is known from the kernel again.
    expect(ready.map(({ address }) => address).sort()).toEqual([addressOf(one), addressOf(two)].sort());
    expect(node.log.join('\n')).toMatch(/c0/);
  });

  test('F08: after a boot all addresses are free before the first ADD, and no DEL is needed', async () => {
    const { result } = await add(0);
    await node.stopAgent('SIGKILL');
    // A boot takes the links, the rules and the namespaces.
    await node.exec(['ip', '-n', node.nameOf(pods[0]!), 'link', 'del', 'eth0']);
    await node.exec(['ip', 'link', 'del', 'cni0']);
    await node.exec(['nft', 'flush', 'ruleset']);
    node.more = { bootId: 'another boot' };
    await node.startAgent();
    expect(await node.leases()).toEqual([]);
    const one = node.configuration({
      name: 'kp',
      ipam: { type: 'kproxy-cni', ranges: [[{ subnet: '10.88.0.0/30' }]] },
    });
    const answer = await node.add(pods[1]!, { id: 'c1', stdin: JSON.stringify(one) });
    expect(answer.result.ips).toEqual(result.ips!.map(ip => ({ ...ip, address: '10.88.0.2/30' })));
    node.more = {};
    await node.del(pods[1]!, { id: 'c1' });
    await restart('');
  });

  test('F07: the journal has a tail that was never finished', async () => {
    await add(0);
    await node.stopAgent('SIGKILL');
    await appendFile(join(state, 'cni.db-wal'), 'torn'.repeat(1000));
    await node.startAgent();
    expect((await node.leases()).filter(lease => lease.state === 'ready')).toHaveLength(1);
  });
});
