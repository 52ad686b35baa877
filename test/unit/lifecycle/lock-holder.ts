/**
 * A process for lock.test.ts: takes the lock of its first argument and says so, a line for each step. Then it waits to be killed;
 * with `child` it first starts a program that outlives it, with `try` it ends at once when the lock is taken.
 */
import { spawn } from 'node:child_process';
import { FileLock } from '../../../src/lifecycle/lock.ts';

const [path = '', how] = process.argv.slice(2);
const lock = new FileLock({ path, what: 'a test' });
const held = how === 'try' ? await lock.tryAcquire() : await lock.acquire(new AbortController().signal);
if (how === 'child') {
  const child = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  process.stdout.write(`child ${child.pid}\n`);
}
process.stdout.write(held === undefined ? 'taken\n' : 'held\n');
if (held !== undefined) setInterval(() => undefined, 60_000);
