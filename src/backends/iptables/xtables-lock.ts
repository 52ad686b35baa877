import { setTimeout as delay } from 'node:timers/promises';
import { ExecError, type Output, type RunOptions, run as runProgram } from '../../linux/exec.ts';
import { flockHolder, isWithoutLock } from '../../linux/file-lock.ts';
import type { Logger } from '../../log.ts';
import { isLockHeld } from './tools.ts';

/** The file that the legacy tools lock; XTABLES_LOCKFILE names another to them (and to us). */
const LOCK_FILE = '/run/xtables.lock';

const FIRST_RETRY_MS = 2;
const MAX_RETRY_MS = 50;
/** A wait is mentioned after this, then each time twice as much later. */
const FIRST_NOTICE_MS = 1000;
const MAX_NOTICE_MS = 60_000;
/** How often to look whether a program that shall end still only waits. */
const STOP_CHECK_MS = 10;

export interface LockedCall {
  readonly file: string;
  readonly args: readonly string[];
  readonly options: RunOptions & { readonly timeoutMs: number };
  readonly run?: typeof runProgram;
  /** Ends the wait; a program that has the lock is left to finish. */
  readonly signal?: AbortSignal | undefined;
  readonly log?: Pick<Logger, 'info' | 'warn'> | undefined;
}

/**
 * Runs a legacy tool, which takes the xtables lock, and waits for the lock as long as somebody else holds it: that isn't a
 * failure, and `timeoutMs` doesn't count it. Without `-w` a tool gives up at once (exit status 4) or, as iptables-restore 1.8.9,
 * waits in the kernel until it has the lock: both are good. The log says who holds it.
 * @throws ExecError as `run` does; `signal`'s reason once that is aborted while it waits.
 */
export async function runLocked(call: LockedCall): Promise<Output> {
  const { log, signal, options } = call;
  const lockFile = options.env?.XTABLES_LOCKFILE ?? process.env.XTABLES_LOCKFILE ?? LOCK_FILE;
  using notices = new WaitNotices(lockFile, log);
  for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(retryMs * 2, MAX_RETRY_MS)) {
    try {
      return await attempt(call, lockFile, notices);
    } catch (error) {
      if (!isLockHeld(error)) throw error;
    }
    signal?.throwIfAborted();
    notices.isRefused = true;
    await delay(retryMs);
  }
}

/** One run of the program, ended when it takes too long, or is no longer wanted, and not because it works. */
async function attempt(call: LockedCall, lockFile: string, notices: WaitNotices): Promise<Output> {
  const { file, args, options, run = runProgram, signal } = call;
  const { timeoutMs, ...rest } = options;
  const stop = new AbortController();
  const isWaiting = async () => notices.pid !== undefined && (await isWithoutLock(lockFile, notices.pid));
  let timer = setTimeout(onTime, timeoutMs);
  async function onTime(): Promise<void> {
    if (await isWaiting()) timer = setTimeout(onTime, timeoutMs);
    else stop.abort();
  }
  let isAborted = false;
  const onAbort = async () => {
    // It may be about to take the lock, or have it: then it works, and soon ends by itself.
    while (notices.pid !== undefined && !isAborted) {
      isAborted = await isWaiting();
      if (isAborted) stop.abort();
      else await delay(STOP_CHECK_MS);
    }
  };
  signal?.addEventListener('abort', onAbort);
  try {
    return await run(file, args, { ...rest, signal: stop.signal, onStart: pid => (notices.pid = pid) });
  } catch (error) {
    if (isAborted) signal?.throwIfAborted();
    if (!(error instanceof ExecError) || !stop.signal.aborted) throw error;
    throw new ExecError(error.op, { ...error, isTimeout: true, cause: error });
  } finally {
    notices.pid = undefined;
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Says who holds the lock while a program waits for it, and when the wait is over. */
class WaitNotices implements Disposable {
  /** The program that runs. */
  pid: number | undefined;
  /** Whether a program was refused for the lock, so that the next one waits too, whatever it does just now. */
  isRefused = false;
  readonly #lockFile: string;
  readonly #log: LockedCall['log'];
  readonly #beganAtMs = performance.now();
  #timer: NodeJS.Timeout;
  #wasSaid = false;
  #isOver = false;

  constructor(lockFile: string, log: LockedCall['log']) {
    this.#lockFile = lockFile;
    this.#log = log;
    this.#timer = setTimeout(() => this.#notice(FIRST_NOTICE_MS), FIRST_NOTICE_MS);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    if (this.#wasSaid) this.#log?.info(this.#fields, `the xtables lock was free after ${this.#seconds} s`);
  }

  async #notice(waitMs: number): Promise<void> {
    const isWaiting = this.isRefused || (this.pid !== undefined && (await isWithoutLock(this.#lockFile, this.pid)));
    const holder = isWaiting ? await flockHolder(this.#lockFile) : undefined;
    if (this.#isOver) return;
    // The other family's turn isn't worth a line.
    const isOurs = holder?.parent === process.pid && holder.command.includes('tables-legacy-restore');
    if (isWaiting && !isOurs) {
      const who =
        holder === undefined
          ? 'a process that cannot be seen from here (in another PID namespace?)'
          : `process ${holder.pid}: ${holder.command}`;
      const since = `waiting for the xtables lock ${this.#lockFile} since ${this.#seconds} s`;
      this.#log?.warn(this.#fields, `${since}, held by ${who}; rules stay as they are until it is free`);
      this.#wasSaid = true;
    }
    const nextMs = Math.min(waitMs * 2, MAX_NOTICE_MS);
    this.#timer = setTimeout(() => this.#notice(nextMs), waitMs);
  }

  get #seconds(): string {
    return ((performance.now() - this.#beganAtMs) / 1000).toFixed(1);
  }

  get #fields(): { lockFile: string } {
    return { lockFile: this.#lockFile };
  }
}
