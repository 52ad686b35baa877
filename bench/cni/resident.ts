/** What a program has in memory at most until it says its answer. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** So many looks in a row, 5 ms apart, that find it asleep. */
const ASLEEP_LOOKS = 10;

/** kB at the answer to VERSION, which is held up by a pipe that is full: `pipe` is a path for it. */
export async function residentAtVersion(program: string, pipe: string): Promise<number> {
  execFileSync('mkfifo', [pipe]);
  const own = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  fill(own);
  const stdout = openSync(pipe, constants.O_WRONLY);
  const child = spawn(program, { env: { CNI_COMMAND: 'VERSION' }, stdio: ['pipe', stdout, 'inherit'] });
  const ended = once(child, 'close');
  try {
    child.stdin!.end('{"cniVersion":"1.0.0"}');
    const status = () => readFileSync(`/proc/${child.pid}/status`, 'utf8');
    for (let asleep = 0; asleep < ASLEEP_LOOKS; await delay(5)) asleep = /^State:\s+S/m.test(status()) ? asleep + 1 : 0;
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status())?.[1]);
  } finally {
    child.kill('SIGKILL');
    await ended;
    closeSync(stdout);
    closeSync(own);
    rmSync(pipe);
  }
}

function fill(fd: number): void {
  const page = Buffer.alloc(4096);
  try {
    for (;;) writeSync(fd, page);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
  }
}
