/** The lock of the legacy tools, held by somebody else: a real flock on a lock file of the test's own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { toolsOf } from '../../src/backends/iptables/tools.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import { flockHolder } from '../../src/linux/file-lock.ts';
import { createLogger } from '../../src/log.ts';
import type { IPFamily } from '../../src/watch/objects.ts';
import { clusterOf, differences, startKernelLoop } from './kernel-loop.ts';
import { describeUnless } from './requires.ts';

const NETNS = `kpx-lock-${process.pid}`;
const FAMILIES = ['IPv4', 'IPv6'] as const;
let directory = '';
let lockFile = '';
const holders: ChildProcess[] = [];

/** Keeps the lock until it is killed or its seconds are over; resolves once it has it. */
async function hold(seconds: number): Promise<ChildProcess & { readonly pid: number }> {
  const holder = spawn('flock', ['--no-fork', lockFile, 'sh', '-c', `echo held; exec sleep ${seconds}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  holders.push(holder);
  await once(holder.stdout, 'data');
  return Object.assign(holder, { pid: holder.pid ?? 0 });
}

function ioOf(family: IPFamily) {
  const lines: string[] = [];
  const log = createLogger({ level: 'info', destination: { write: line => void lines.push(JSON.parse(line).msg) } });
  const inNetns = (file: string, args: readonly string[] = [], options: RunOptions = {}) =>
    run(file, args, { ...options, netns: NETNS });
  return { tools: toolsOf('legacy', family), run: inNetns, log, lines };
}

describeUnless(await obstacle(), 'the xtables lock', () => {
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kpx-lock-'));
    lockFile = join(directory, 'xtables.lock');
    vi.stubEnv('XTABLES_LOCKFILE', lockFile);
    await run('ip', ['netns', 'add', NETNS]);
  });
  afterEach(() => {
    for (const holder of holders.splice(0)) holder.kill('SIGKILL');
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await run('ip', ['netns', 'del', NETNS]);
    await rm(directory, { recursive: true });
  });

  it('held for 10 s: what changed meanwhile is programmed as soon as it is free, and the log names who has it', async () => {
    const families = FAMILIES.map(family => ({ family, ...ioOf(family) }));
    const loops = families.map(io => startKernelLoop(io));
    await Promise.all(loops.map(({ set }, i) => set(clusterOf(FAMILIES[i]!, { services: 3 }))));
    const holder = await hold(10);
    const released = once(holder, 'exit').then(() => performance.now());
    const changed = FAMILIES.map(family => clusterOf(family, { services: 4, revision: 1 }));
    const doneAt = loops.map(({ set }, i) => set(changed[i]!).then(() => performance.now()));
    await delay(9000);
    for (const { reports, errors } of loops) {
      expect(reports).toHaveLength(1);
      expect(errors).toEqual([]);
    }
    const times = await Promise.all(doneAt);
    const releasedAt = await released;
    for (const [i, io] of families.entries()) {
      expect(times[i]! - releasedAt).toBeLessThan(500);
      expect(await differences(io, changed[i]!)).toEqual([]);
      // After 1, 2, 4 and 8 s.
      expect(io.lines.slice(0, -1)).toHaveLength(4);
      const said = `held by process ${holder.pid}: sleep 10;`;
      for (const line of io.lines.slice(0, -1)) expect(line).toContain(said);
      expect(io.lines.at(-1)).toMatch(/^the xtables lock was free after \d+\.\d s$/);
    }
    for (const { loop } of loops) await loop.close();
  });

  it.each(FAMILIES)('a loop of %s that waits for it can be paused and closed, without an error', async family => {
    const io = ioOf(family);
    const { loop, set, reports, errors } = startKernelLoop(io);
    await set(clusterOf(family, { services: 1 }));
    const holder = await hold(60);
    const cluster = clusterOf(family, { services: 2, revision: 1 });
    const done = set(cluster);
    await delay(200);
    await loop.pause();
    expect(reports).toHaveLength(1);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    expect(await differences(io, cluster)).not.toEqual([]);
    loop.resume();
    expect(await done).toMatchObject({ cause: 'start', failures: [] });
    expect(await differences(io, cluster)).toEqual([]);
    await hold(60);
    void set(clusterOf(family, { services: 3 })).catch(() => undefined);
    await delay(1200);
    await loop.close();
    expect(errors).toEqual([]);
    // It was never free.
    expect(io.lines.at(-1)).toMatch(/^waiting for the xtables lock/);
  });

  it('finds who holds a lock that was taken by a process that is gone', async () => {
    const script = 'exec 9>"$1"; flock 9; echo held; exec sleep 60';
    const shell = spawn('sh', ['-c', script, 'sh', lockFile], { stdio: ['ignore', 'pipe', 'inherit'] });
    holders.push(shell);
    await once(shell.stdout, 'data');
    expect(await flockHolder(lockFile)).toEqual({ pid: shell.pid, command: 'sleep 60', parent: process.pid });
    shell.kill('SIGKILL');
    await once(shell, 'exit');
    expect(await flockHolder(lockFile)).toBeUndefined();
  });
});
