/** The executable without what a process usually has: descriptors, processes, memory; and STATUS, as often as a runtime asks for it. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, type Call, CniNode, IPV4, kproxyCni, linkIn } from './cni-node.ts';

let node: CniNode;
let pod: string;
let plugins: string;
beforeAll(async () => {
  node = await CniNode.start('limits', IPV4);
  pod = await node.pod('one');
  plugins = await mkdtemp(join(tmpdir(), 'cni-limits-'));
  await chmod(plugins, 0o755);
  await script('giver', `echo '{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.5/24"}]}'`);
});
afterEach(async () => {
  expect(await node.residue()).toEqual([]);
});
afterAll(async () => {
  await rm(plugins, { recursive: true });
  await node[Symbol.asyncDispose]();
});

async function script(name: string, body: string): Promise<string> {
  const path = join(plugins, name);
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

/** A user who has no other process. */
const OTHER_USER = 54_321;

const MOST_ROUNDS = 20;

const delegated = { path: '', config: { bridge: 'br-limits', ipam: { type: 'giver' } } } satisfies Partial<Call>;

/** It is an error document, or at least no success; and a DEL without the limit leaves nothing. */
async function expectFailed(answer: Answer, more: Partial<Call> = {}): Promise<void> {
  expect(answer.status).not.toBe(0);
  if (answer.stdout !== '')
    expect(JSON.parse(answer.stdout)).toMatchObject({ cniVersion: '1.1.0', code: expect.any(Number) });
  expect(await node.del(pod, more)).toMatchObject({ status: 0 });
  expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
  expect(await node.residue()).toEqual([]);
}

describe('without what a process usually has', () => {
  test('F11: descriptors: no limit gives a wrong answer, and most give a document', async () => {
    const more = { ...delegated, path: plugins };
    const codes = new Map<number, number>();
    for (let limit = 3; limit <= 16; limit += 1) {
      const program = await script('few-files', `exec prlimit --nofile=${limit} ${kproxyCni}`);
      const answer = await node.add(pod, { ...more, program });
      codes.set(limit, answer.status === 0 ? 0 : answer.code);
      if (answer.status === 0) expect(answer.result.ips).toMatchObject([{ address: '10.77.0.5/24' }]);
      else await expectFailed(answer, more);
      expect((await node.del(pod, more)).status).toBe(0);
    }
    expect(codes.get(4)).toBeGreaterThan(0);
    expect(codes.get(16)).toBe(0);
  });

  test('F11: processes: one that can not be started is a document, and so is the DEL of it', async () => {
    // Root alone has no such limit: this is the root of a namespace of users, somebody else outside.
    const user = `setpriv --reuid=${OTHER_USER} --regid=${OTHER_USER} --clear-groups unshare --user --map-root-user`;
    const runs = (limit: string) => script('no-process', `exec ${user} ${limit} ${kproxyCni}`);
    const more = { ...delegated, path: plugins };
    const without = await node.add(pod, { ...more, program: await runs('prlimit --nproc=1') });
    expect(without).toMatchObject({ status: 1, code: 5, message: expect.stringContaining('giver: could not be run') });
    await expectFailed(without, more);
    // It is the limit that has done so: without it, the agent's socket is what isn't for somebody else.
    expect(await node.add(pod, { ...more, program: await runs('env') })).toMatchObject({ status: 1, code: 103 });
  });

  test('F11: memory: at each limit an answer that is right, or an error', async () => {
    const statuses = new Set<boolean>();
    for (const kilobytes of [64, 256, 512, 1024, 1536, 2048, 2560, 3072, 4096, 8192, 32_768]) {
      const program = await script('little-memory', `exec prlimit --as=${kilobytes * 1024} ${kproxyCni}`);
      const answer = await node.add(pod, { program, config: { big: 'x'.repeat(100_000) } });
      statuses.add(answer.status === 0);
      if (answer.status !== 0) await expectFailed(answer);
      else expect(answer.result.ips).toHaveLength(1);
      expect((await node.del(pod)).status).toBe(0);
    }
    expect([...statuses].toSorted()).toEqual([false, true]);
  });

  test('F11: memory: where the input alone is too much for it, one document says so', async () => {
    const program = await script('some-memory', `exec prlimit --as=${16 << 20} ${kproxyCni}`);
    const answer = await node.add(pod, { program, config: { big: 'x'.repeat(9_000_000) } });
    expect(answer).toMatchObject({ status: 1, code: 5 });
    await expectFailed(answer);
  });
});

/** Numbers of a process, and times of what it keeps on disk. */
function footprint() {
  const { agentPid, directory } = node;
  const status = readFileSync(`/proc/${agentPid}/status`, 'utf8');
  const state = join(directory, 'state');
  const files = readdirSync(state).toSorted();
  return {
    descriptors: readdirSync(`/proc/${agentPid}/fd`).length,
    rssKilobytes: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]),
    disk: [state, ...files.map(name => join(state, name))].map(path => [
      path,
      statSync(path).mtimeMs,
      statSync(path).size,
    ]),
  };
}

describe('STATUS', () => {
  async function ask(times: number): Promise<void> {
    // In one shell: to start as many shells would take longer than what they do.
    const count = await script(
      'ask',
      `for i in $(seq ${times}); do printf '%s' "$CONFIG" | ${kproxyCni} || exit 1; done`,
    );
    const env = { CONFIG: JSON.stringify(node.configuration()) };
    expect(await node.call({ verb: 'STATUS', program: count, env })).toMatchObject({ status: 0, stdout: '' });
  }

  test('S05: a thousand of them leave no descriptor, no memory, and nothing on disk', async () => {
    expect((await node.add(pod)).status).toBe(0); // there is something to look at
    await ask(100);
    const descriptors = await settled();
    const before = footprint();
    const grown: number[] = [];
    // The agent's heap is as large as it gets after some rounds; a leak of a kilobyte a call would go on in each.
    do {
      const { rssKilobytes } = footprint();
      await ask(1000);
      grown.push(footprint().rssKilobytes - rssKilobytes);
    } while (grown.at(-1)! >= 1000 && grown.length < MOST_ROUNDS);
    expect(grown.at(-1), grown.join(' ')).toBeLessThan(1000);
    await expect.poll(() => footprint().descriptors, { timeout: 10_000 }).toBe(descriptors);
    expect(footprint().disk).toEqual(before.disk);
    expect((await node.del(pod)).status).toBe(0);
  }, 240_000);
});

/** Descriptors when two looks, some time apart, find as many. */
async function settled(): Promise<number> {
  for (let last = -1; ; ) {
    const { descriptors } = footprint();
    if (descriptors === last) return last;
    last = descriptors;
    await new Promise(resolve => setTimeout(resolve, 200));
  }
}
