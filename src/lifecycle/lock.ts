/**
 * A lock on a file that one process has at a time, by flock(2). Node has no flock(2) of its own, so util-linux' `flock` locks
 * the descriptor that we hand it: the lock belongs to the open file description, which stays with us when `flock` has ended,
 * and goes when we close it or die, however that happens. Other children never get the descriptor (Node opens with O_CLOEXEC).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeSync,
} from 'node:fs';
import { text } from 'node:stream/consumers';

/** The lock can't be used at all; that another process has it is no error. */
export class LockError extends Error {
  override readonly name = 'LockError';
}

/** Held until it is disposed. */
export type HeldLock = Disposable;

/** What the holder wrote when it took the lock. */
export interface LockHolder {
  /** In the pid namespace of the holder. */
  readonly pid: number;
  /** Whether `pid` means the same process to us: containers count their own processes. */
  readonly isPidOurs: boolean;
  /** Program and version, and since when. */
  readonly what: string;
}

export interface Lock {
  /** undefined when another process has it. @throws LockError */
  tryAcquire(): Promise<HeldLock | undefined>;
  /** Waits in the kernel's queue until the lock is free. Rejects with the signal's reason when aborted. @throws LockError */
  acquire(signal: AbortSignal): Promise<HeldLock>;
  /** Who has it, or had it last; undefined before the first. */
  holder(): LockHolder | undefined;
}

export interface FileLockOptions {
  readonly path: string;
  /** Program and version, for those who wait. */
  readonly what: string;
  /** The program that locks a descriptor; tests name one that is missing. */
  readonly flock?: string;
}

/** The status of `flock --nonblock` when another process has the lock. */
const CONFLICT = 1;

/** See the file's comment. The file stays when the lock is free: a removed one would let two processes lock two files. */
export class FileLock implements Lock {
  readonly #options: FileLockOptions;

  constructor(options: FileLockOptions) {
    this.#options = options;
  }

  tryAcquire(): Promise<HeldLock | undefined> {
    return this.#lock(['--nonblock']);
  }

  async acquire(signal: AbortSignal): Promise<HeldLock> {
    for (;;) {
      signal.throwIfAborted();
      const held = await this.#lock([], signal);
      if (held !== undefined) return held;
    }
  }

  holder(): LockHolder | undefined {
    const [pid = '', what = '', pidNamespace = ''] = readText(this.#options.path).split('\n');
    if (!/^\d+$/.test(pid)) return undefined;
    return { pid: Number(pid), isPidOurs: pidNamespace === ourPidNamespace(), what };
  }

  /** undefined when another process has it, or `flock` was ended. */
  async #lock(flags: readonly string[], signal?: AbortSignal): Promise<HeldLock | undefined> {
    const { path, what } = this.#options;
    for (;;) {
      const descriptor = openLockFile(path);
      const held = holdUntilDisposed(descriptor);
      try {
        const isLocked = await this.#runFlock(descriptor, { flags, signal });
        // The file that others would open may be another one by now.
        const isCurrent = isFileAt(path, descriptor);
        if (isLocked && isCurrent && signal?.aborted !== true) {
          writeHolder(descriptor, what);
          return held;
        }
        held[Symbol.dispose]();
        if (isCurrent || !isLocked) return undefined;
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
    }
  }

  async #runFlock(
    descriptor: number,
    { flags, signal }: { flags: readonly string[]; signal: AbortSignal | undefined },
  ): Promise<boolean> {
    const { path, flock = 'flock' } = this.#options;
    const child = spawn(flock, [...flags, '3'], { stdio: ['ignore', 'ignore', 'pipe', descriptor] });
    const end = () => child.kill('SIGKILL');
    signal?.addEventListener('abort', end, { once: true });
    try {
      const [status, said] = await Promise.all([
        statusOf(child, flock),
        child.stderr === null ? '' : text(child.stderr),
      ]);
      // No status: ended by `end`, or by a Ctrl-C that reached us too.
      if (status === 0 || status === CONFLICT || status === null) return status === 0;
      throw new LockError(`${flock} can't lock ${path}: ${said.trim() || `exit status ${status}`}`);
    } finally {
      signal?.removeEventListener('abort', end);
    }
  }
}

/** For messages. */
export function holderText(holder: LockHolder | undefined): string {
  if (holder === undefined) return 'another process';
  return `${holder.what} (process ${holder.pid}${holder.isPidOurs ? '' : ' of another container'})`;
}

function openLockFile(path: string): number {
  try {
    return openSync(path, 'a+', 0o600);
  } catch (error) {
    throw new LockError(`can't open the lock file: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

function holdUntilDisposed(descriptor: number): HeldLock {
  let isOpen = true;
  return {
    [Symbol.dispose]() {
      if (isOpen) closeSync(descriptor);
      isOpen = false;
    },
  };
}

/** The exit status; null when a signal ended it. @throws LockError when there is no such program */
function statusOf(child: ChildProcess, flock: string): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'ENOENT' ? 'no such program (Debian package util-linux)' : error.message;
      reject(new LockError(`${flock}, which keeps a second daemon from writing: ${why}`, { cause: error }));
    });
    child.once('exit', resolve);
  });
}

function isFileAt(path: string, descriptor: number): boolean {
  const at = statSync(path, { throwIfNoEntry: false });
  const open = fstatSync(descriptor);
  return at?.ino === open.ino && at.dev === open.dev;
}

/** The pid stands alone on the first line, for `cat` and scripts. */
function writeHolder(descriptor: number, what: string): void {
  ftruncateSync(descriptor);
  writeSync(descriptor, `${process.pid}\n${what} since ${new Date().toISOString()}\n${ourPidNamespace()}\n`);
}

function ourPidNamespace(): string {
  return readlinkSync('/proc/self/ns/pid');
}

/** '' when there is no such file. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}
