import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileLock, holderText } from '../../../src/lifecycle/lock.ts';

const HOLDER = join(import.meta.dirname, 'lock-holder.ts');

let directory = '';
let path = '';
const children: ChildProcess[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kpx-lock-'));
  path = join(directory, 'lock');
});
afterEach(async () => {
  for (const child of children.splice(0)) await kill(child);
  rmSync(directory, { recursive: true });
});

const newLock = () => new FileLock({ path, what: 'kproxy-ts 1.2.3' });
const never = new AbortController().signal;

/** A process that takes the lock, and what it says. */
function startHolder(how = ''): { child: ChildProcess; lines: AsyncIterator<string> } {
  const child = spawn(process.execPath, [HOLDER, path, how], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  return { child, lines: createInterface({ input: child.stdout! })[Symbol.asyncIterator]() };
}

async function nextLine(lines: AsyncIterator<string>): Promise<string> {
  const { value } = await lines.next();
  return String(value);
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

describe('FileLock', () => {
  test('one has it at a time; disposal frees it, once', async () => {
    const [one, other] = [newLock(), newLock()];
    const held = await one.tryAcquire();
    expect(held).toBeDefined();
    expect(await other.tryAcquire()).toBeUndefined();
    expect(await one.tryAcquire()).toBeUndefined();
    held?.[Symbol.dispose]();
    using next = await other.tryAcquire();
    expect(next).toBeDefined();
    held?.[Symbol.dispose]();
    expect(await one.tryAcquire()).toBeUndefined();
  });

  test("the file says who has it, and is root's alone", async () => {
    expect(newLock().holder()).toBeUndefined();
    using _held = await newLock().tryAcquire();
    const holder = newLock().holder();
    expect(holder).toMatchObject({ pid: process.pid, isPidOurs: true });
    expect(holder?.what).toMatch(/^kproxy-ts 1\.2\.3 since \d{4}-/);
    expect(holderText(holder)).toMatch(new RegExp(`^kproxy-ts 1\\.2\\.3 since .*Z \\(process ${process.pid}\\)$`));
    expect(readFileSync(path, 'utf8').split('\n')[0]).toBe(String(process.pid));
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('those who wait get it one after the other, as soon as it is free', async () => {
    const order: string[] = [];
    const held = await newLock().tryAcquire();
    const wait = async (name: string) => {
      using _lock = await newLock().acquire(never);
      order.push(name);
    };
    const waiting = [wait('one'), wait('other')];
    order.push('first');
    held?.[Symbol.dispose]();
    await Promise.all(waiting);
    expect(order[0]).toBe('first');
    expect(order.slice(1).toSorted()).toEqual(['one', 'other']);
  });

  test('who gives up waiting takes nothing with him', async () => {
    const held = await newLock().tryAcquire();
    const stop = new AbortController();
    const waiting = newLock().acquire(stop.signal);
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    held?.[Symbol.dispose]();
    using next = await newLock().tryAcquire();
    expect(next).toBeDefined();
  });

  test('who waited for a file that was removed locks the one that others see', async () => {
    const held = await newLock().tryAcquire();
    const waiting = newLock().acquire(never);
    rmSync(path);
    using current = await newLock().tryAcquire();
    expect(current).toBeDefined();
    held?.[Symbol.dispose]();
    const outcome = await Promise.race([
      waiting.then(() => 'held'),
      newLock()
        .tryAcquire()
        .then(() => 'waits on'),
    ]);
    expect(outcome).toBe('waits on');
    current?.[Symbol.dispose]();
    (await waiting)[Symbol.dispose]();
  });

  test('says which package is missing, and which file cannot be locked', async () => {
    const noProgram = new FileLock({ path, what: '', flock: 'no-such-flock' });
    await expect(noProgram.tryAcquire()).rejects.toThrow('no-such-flock');
    await expect(noProgram.tryAcquire()).rejects.toThrow('util-linux');
    const noFile = new FileLock({ path: join(directory, 'none', 'lock'), what: '' });
    await expect(noFile.acquire(never)).rejects.toThrow("can't open the lock file: ENOENT");
  });
});

describe('FileLock between processes', () => {
  test('kill -9 frees it at once for the one that waits', async () => {
    const { child, lines } = startHolder();
    expect(await nextLine(lines)).toBe('held');
    expect(await newLock().tryAcquire()).toBeUndefined();
    expect(newLock().holder()?.pid).toBe(child.pid);
    const waiting = newLock().acquire(never);
    await kill(child);
    using _held = await waiting;
    expect(newLock().holder()?.pid).toBe(process.pid);
  });

  test('a program that the holder started and that outlives it does not keep it', async () => {
    const { child, lines } = startHolder('child');
    const survivor = Number((await nextLine(lines)).replace('child ', ''));
    expect(await nextLine(lines)).toBe('held');
    await kill(child);
    try {
      using held = await newLock().tryAcquire();
      expect(held).toBeDefined();
      process.kill(survivor, 0);
    } finally {
      process.kill(survivor, 'SIGKILL');
    }
  });

  test('of ten that start at once exactly one gets it', async () => {
    const said = await Promise.all(Array.from({ length: 10 }, () => nextLine(startHolder('try').lines)));
    expect(said.toSorted()).toEqual(['held', ...Array.from({ length: 9 }, () => 'taken')]);
    // Ten Nodes start at once: on a busy machine that alone takes seconds.
  }, 60_000);

  test('one that dies while it waits leaves the queue', async () => {
    const held = await newLock().tryAcquire();
    const { child } = startHolder();
    await once(child, 'spawn');
    await kill(child);
    held?.[Symbol.dispose]();
    using _next = await newLock().acquire(never);
    expect(newLock().holder()?.pid).toBe(process.pid);
  });
});
