/** The executable when the runtime ends it, and when another IPAM plugin takes its time. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Call, CniNode, IPV4, linkIn } from './cni-node.ts';

const WAITING = { timeout: 30_000, interval: 20 };

let node: CniNode;
let pod: string;
let plugins: string;
beforeAll(async () => {
  node = await CniNode.start('ending', IPV4);
  pod = await node.pod('one');
  plugins = await mkdtemp(join(tmpdir(), 'cni-ending-'));
});
afterEach(async () => {
  expect(await node.residue()).toEqual([]);
});
afterAll(async () => {
  await rm(plugins, { recursive: true });
  await node[Symbol.asyncDispose]();
});

/** An IPAM plugin that notes its verbs, and gives an address when there is a file `open` beside it. Its path. */
async function gated(name: string): Promise<string> {
  const path = join(plugins, name);
  const address = `{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.5/24"}]}`;
  const body = [
    'cat > /dev/null',
    'echo $CNI_COMMAND >> "$0.log"',
    '[ $CNI_COMMAND = ADD ] || exit 0',
    'echo $$ > "$0.pid"',
    'while [ ! -e "$0.open" ]; do sleep 0.05; done',
    `echo '${address}'`,
  ];
  await writeFile(path, `#!/bin/sh\n${body.join('\n')}\n`);
  await chmod(path, 0o755);
  return path;
}

const isThere = (path: string) => expect.poll(() => existsSync(path), WAITING).toBe(true);
const verbsOf = async (path: string) => (await readFile(`${path}.log`, 'utf8')).trim().split('\n');
/** Who of a process group is alive. */
const members = (group: string) =>
  execFileSync('ps', ['-e', '-o', 'pgid=,stat=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter(line => line.trim().startsWith(`${group} `) && !/^ *\d+ +Z/.test(line));

const config = (type: string) => ({ bridge: 'br-ending', ipam: { type } });

describe('the runtime ends the plugin', () => {
  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'F12: by %s, while another IPAM plugin is at work: that ends, and takes back what it gave',
    async killSignal => {
      const path = await gated(`slow-${killSignal}`);
      const end = new AbortController();
      const call = { path: plugins, config: config(`slow-${killSignal}`) };
      const adding = node.add(pod, { ...call, signal: end.signal, killSignal });
      await isThere(`${path}.pid`);
      end.abort();
      const answer = await adding;
      expect(answer).toMatchObject({ status: 1, code: 11, message: expect.stringContaining('signal') });
      expect(await verbsOf(path)).toEqual(['ADD', 'DEL']);
      const group = (await readFile(`${path}.pid`, 'utf8')).trim();
      expect(group).toMatch(/^\d+$/);
      expect(members(group)).toEqual([]);
      expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
      await node.del(pod, call);
    },
  );

  test('F12: while the agent is at work: what it makes is undone, and the next ADD is as any', async () => {
    const end = new AbortController();
    node.signalAgent('SIGSTOP');
    const adding = node.add(pod, { signal: end.signal, killSignal: 'SIGTERM' });
    await isAsked();
    end.abort();
    const answer = await adding;
    node.signalAgent('SIGCONT');
    expect(answer).toMatchObject({ status: 1, code: 11 });
    await expect.poll(() => node.residue(), WAITING).toEqual([]);
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect((await node.add(pod)).status).toBe(0);
    expect((await node.del(pod)).status).toBe(0);
  });

  test('F12: at random moments: an address or an error document, and nothing left of the latter', async () => {
    const took = (await node.add(pod)).milliseconds;
    await node.del(pod);
    const statuses = new Set<number>();
    for (let round = 0; round < 40; round += 1) {
      const end = new AbortController();
      const adding = node.add(pod, { signal: end.signal, killSignal: 'SIGTERM' });
      await new Promise(resolve => setTimeout(resolve, (took * round) / 30));
      end.abort();
      const { status, code } = await adding;
      statuses.add(status);
      // Before the program has begun, the signal ends it as any other.
      if (status !== 0) expect([0, 11]).toContain(code);
      else expect((await node.del(pod)).status).toBe(0);
      await expect.poll(() => node.residue(), WAITING).toEqual([]);
    }
    expect(statuses.size).toBeGreaterThan(1);
  });
});

/** Until a plugin is connected to the agent, which is stopped: beside the socket that listens there is another. */
async function isAsked(): Promise<void> {
  const path = join(node.directory, 'cni.sock');
  const sockets = async () => (await node.exec(['cat', '/proc/net/unix'])).stdout.split(path).length - 1;
  await expect.poll(sockets, WAITING).toBe(2);
}

describe('another IPAM plugin that takes its time', () => {
  test('N04: other ADDs and DELs are done while it is at work, and then its own', async () => {
    const path = await gated('stuck');
    const call = { path: plugins, config: config('stuck'), id: 'stuck' } satisfies Partial<Call>;
    let isDone = false;
    const adding = node.add(pod, call).finally(() => {
      isDone = true;
    });
    await isThere(`${path}.pid`);
    const others = await Promise.all(Array.from({ length: 5 }, (_, index) => node.pod(`n04-${index}`)));
    const added = await Promise.all(others.map((other, index) => node.add(other, { id: `n04-${index}` })));
    expect(added.map(({ status }) => status)).toEqual([0, 0, 0, 0, 0]);
    const deleted = await Promise.all(others.map((other, index) => node.del(other, { id: `n04-${index}` })));
    expect(deleted.map(({ status }) => status)).toEqual([0, 0, 0, 0, 0]);
    expect(isDone).toBe(false);
    await writeFile(`${path}.open`, '');
    expect((await adding).result.ips).toMatchObject([{ address: '10.77.0.5/24' }]);
    expect((await node.del(pod, call)).status).toBe(0);
    expect(await verbsOf(path)).toEqual(['ADD', 'DEL']);
  });
});
