/**
 * The lab's long-lived processes. Each is marked in its environment and known by (pid, start time), so that it is found again after a
 * crash and a stranger that got a recycled pid is never ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks from boot to the start of the process. */
  readonly startTime: string;
}

export interface Launch {
  readonly netns: string;
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** Standard output and error are appended here. */
  readonly logFile: string;
  /** The process writes a word to descriptor 3 once it serves, and closes it. */
  readonly announces?: boolean;
}

export interface Launched {
  readonly id: ProcessId;
  /** Settles when the process ends, with a sentence on how. */
  readonly ended: Promise<string>;
  /** Resolves to what the process wrote to descriptor 3 once it closed it: '' when it ended without a word, or never says any. */
  readonly announcement: Promise<string>;
}

export const labVariable = 'KPROXY_TS_LAB';

/** The environment of everything that runs in a lab: the mark by which `down` finds it, and the ordinary paths. */
export function markedEnv(lab: string, extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const { PATH = '', HOME = '/root', LANG = 'C.UTF-8', TERM = 'dumb' } = process.env;
  return { PATH: `${PATH}:/usr/sbin:/usr/bin:/sbin:/bin`, HOME, LANG, TERM, ...extra, [labVariable]: lab };
}

/** Starts a process in a namespace that outlives us. @throws when it can't be started. */
export async function launch(what: Launch): Promise<Launched> {
  const log = openSync(what.logFile, 'a');
  try {
    const child = spawn('ip', ['netns', 'exec', what.netns, ...what.command], {
      env: what.env,
      detached: true,
      stdio: ['ignore', log, log, what.announces ? 'pipe' : 'ignore'],
    });
    const ended = endOf(child);
    const announcement = readAll(child.stdio[3]);
    child.unref();
    if (child.pid === undefined) throw new Error(await ended);
    return { id: { pid: child.pid, startTime: (await startTimeOf(child.pid)) ?? '' }, ended, announcement };
  } finally {
    closeSync(log);
  }
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise(resolve => {
    child.on('error', error => resolve(error.message));
    child.on('exit', (code, signal) => resolve(signal === null ? `exited with status ${code}` : `ended by ${signal}`));
  });
}

function readAll(stream: unknown): Promise<string> {
  if (!(stream instanceof Readable)) return Promise.resolve('');
  return new Promise(resolve => {
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text += chunk;
    });
    stream.on('error', () => resolve(text));
    stream.on('close', () => resolve(text));
  });
}

/** The start time of a live process; null when there is none (a zombie without threads counts as none). */
export async function startTimeOf(pid: number): Promise<string | null> {
  return parseStat(await readProc(`/proc/${pid}/stat`));
}

/**
 * Start time out of the text of /proc/PID/stat; null of a process that has gone. The program's name stands in parentheses and may hold
 * any character. After SIGKILL the first thread may be a zombie while others still end: until then its sockets are open.
 */
export function parseStat(stat: string): string | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  const hasThreads = Number(fields[17]) > 1;
  const hasGone = state === undefined || state === '' || state === 'X' || (state === 'Z' && !hasThreads);
  return hasGone ? null : (fields[19] ?? null);
}

export async function isAlive(id: ProcessId): Promise<boolean> {
  return (await startTimeOf(id.pid)) === id.startTime;
}

/** The live processes marked as this lab's, but for ourselves and our ancestors (a `down` typed into a `lab exec` shell). */
export async function findMarked(lab: string): Promise<ProcessId[]> {
  const spared = await ancestors();
  const pids = (await readdir('/proc')).filter(entry => /^\d+$/.test(entry)).map(Number);
  const found = await Promise.all(pids.filter(pid => !spared.has(pid)).map(pid => identifyMarked(pid, lab)));
  return found.filter(id => id !== null);
}

async function identifyMarked(pid: number, lab: string): Promise<ProcessId | null> {
  const startTime = await startTimeOf(pid);
  if (startTime === null) return null;
  const environment = await readProc(`/proc/${pid}/environ`);
  return environment.split('\0').includes(`${labVariable}=${lab}`) ? { pid, startTime } : null;
}

async function ancestors(): Promise<Set<number>> {
  const seen = new Set<number>();
  for (let pid = process.pid; pid > 0 && !seen.has(pid); ) {
    seen.add(pid);
    const status = await readProc(`/proc/${pid}/status`);
    pid = Number(/^PPid:\s*(\d+)/m.exec(status)?.[1] ?? 0);
  }
  return seen;
}

/** '' when the process has gone meanwhile, or isn't ours to read. */
async function readProc(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

/** Asks the processes to end, then forces those that haven't after `graceMs`; returns when all are gone. */
export async function endProcesses(ids: readonly ProcessId[], graceMs = 3000): Promise<void> {
  await signalAll(ids, 'SIGTERM');
  const stubborn = await awaitEnd(ids, graceMs);
  await signalAll(stubborn, 'SIGKILL');
  const left = await awaitEnd(stubborn, 5000);
  if (left.length > 0) throw new Error(`processes ${left.map(id => id.pid).join(', ')} don't end, even by SIGKILL`);
}

/** Waits for the processes to end; returns those that still live after `deadlineMs`. */
export async function awaitEnd(ids: readonly ProcessId[], deadlineMs: number): Promise<ProcessId[]> {
  const deadline = performance.now() + deadlineMs;
  let left = await onlyAlive(ids);
  while (left.length > 0 && performance.now() < deadline) {
    await delay(5);
    left = await onlyAlive(left);
  }
  return left;
}

async function onlyAlive(ids: readonly ProcessId[]): Promise<ProcessId[]> {
  const alive = await Promise.all(ids.map(isAlive));
  return ids.filter((_, index) => alive[index]);
}

async function signalAll(ids: readonly ProcessId[], signal: NodeJS.Signals): Promise<void> {
  await Promise.all(ids.map(id => signalProcess(id, signal)));
}

/** Sends a signal if that very process still lives; returns whether it did. */
export async function signalProcess(id: ProcessId, signal: NodeJS.Signals): Promise<boolean> {
  if (!(await isAlive(id))) return false;
  try {
    return process.kill(id.pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}
