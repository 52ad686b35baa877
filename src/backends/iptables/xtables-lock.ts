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
  const { signal } = call;
  await using watch = new LockWatch(call);
  for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(retryMs * 2, MAX_RETRY_MS)) {
    try {
      return await attempt(call, watch);
    } catch (error) {
      if (!isLockHeld(error)) throw error;
    }
    watch.wasRefused();
    signal?.throwIfAborted();
    await delay(retryMs);
  }
}

async function attempt(call: LockedCall, watch: LockWatch): Promise<Output> {
  const { file, args, options, run = runProgram } = call;
  const { timeoutMs: _, ...rest } = options;
  const stop = new AbortController();
  try {
    return await run(file, args, { ...rest, signal: stop.signal, onStart: pid => watch.started(pid, stop) });
  } catch (error) {
    if (stop.signal.reason === TOO_LONG && error instanceof ExecError) {
      throw new ExecError(error.op, { ...error, isTimeout: true, cause: error });
    }
    if (stop.signal.aborted) call.signal?.throwIfAborted();
    throw error;
  }
}

const TOO_LONG = 'took too long';
const NOT_WANTED = 'not wanted any more';

/** A program that runs, and when it has had its time. */
interface Running {
  readonly pid: number;
  readonly stop: AbortController;
  dueAtMs: number;
}

/**
 * Watches a program that may be waiting for the lock: says who holds it, and when the wait is over; ends the program when it is no
 * longer wanted and only waits, or when it works for too long.
 */
class LockWatch implements AsyncDisposable {
  readonly #call: LockedCall;
  readonly #lockFile: string;
  readonly #beganAtMs = performance.now();
  readonly #finished: Promise<void>;
  #running: Running | undefined;
  /** A program was refused: even if none has the file open just now, we wait. */
  #isRefused = false;
  #noticeAtMs = this.#beganAtMs + FIRST_NOTICE_MS;
  #wasSaid = false;
  #isOver = false;
  #wake: () => void = () => undefined;

  constructor(call: LockedCall) {
    this.#call = call;
    this.#lockFile = call.options.env?.XTABLES_LOCKFILE ?? process.env.XTABLES_LOCKFILE ?? LOCK_FILE;
    call.signal?.addEventListener('abort', this.#onAbort);
    this.#finished = this.#watch();
  }

  started(pid: number, stop: AbortController): void {
    this.#running = { pid, stop, dueAtMs: performance.now() + this.#call.options.timeoutMs };
    this.#wake();
  }

  wasRefused(): void {
    this.#running = undefined;
    this.#isRefused = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { signal, log } = this.#call;
    signal?.removeEventListener('abort', this.#onAbort);
    this.#isOver = true;
    this.#wake();
    await this.#finished;
    if (this.#wasSaid && signal?.aborted !== true)
      log?.info({ lockFile: this.#lockFile }, `the xtables lock was free after ${this.#seconds} s`);
  }

  readonly #onAbort = () => this.#wake();

  async #watch(): Promise<void> {
    for (;;) {
      await this.#sleep();
      if (this.#isOver) return;
      const isWaiting = this.#isRefused || (await this.#isWithoutLock());
      const running = this.#running;
      const nowMs = performance.now();
      if (running !== undefined && isWaiting) {
        if (this.#call.signal?.aborted === true) running.stop.abort(NOT_WANTED);
        else running.dueAtMs = nowMs + this.#call.options.timeoutMs;
      } else if (running !== undefined && running.dueAtMs <= nowMs) {
        running.dueAtMs = Number.POSITIVE_INFINITY;
        running.stop.abort(TOO_LONG);
      }
      if (isWaiting && this.#noticeAtMs <= nowMs) await this.#notice();
      if (this.#noticeAtMs <= nowMs) this.#noticeAtMs += Math.min(nowMs - this.#beganAtMs, MAX_NOTICE_MS);
    }
  }

  /** Until there is something to look at. */
  async #sleep(): Promise<void> {
    const nowMs = performance.now();
    const stopAtMs = this.#call.signal?.aborted === true ? nowMs + STOP_CHECK_MS : Number.POSITIVE_INFINITY;
    const nextMs = Math.min(this.#noticeAtMs, this.#running?.dueAtMs ?? Number.POSITIVE_INFINITY, stopAtMs);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, Math.max(nextMs - nowMs, 0));
    if (!this.#isOver) await promise;
    clearTimeout(timer);
  }

  async #isWithoutLock(): Promise<boolean> {
    return this.#running !== undefined && (await isWithoutLock(this.#lockFile, this.#running.pid));
  }

  async #notice(): Promise<void> {
    const holder = await flockHolder(this.#lockFile);
    // The other family's turn isn't worth a line.
    const isOurs = holder?.parent === process.pid && holder.command.includes('tables-legacy-restore');
    if (this.#isOver || isOurs) return;
    const who =
      holder === undefined
        ? 'a process that cannot be seen from here (in another PID namespace?)'
        : `process ${holder.pid}: ${holder.command}`;
    const text = `waiting for the xtables lock ${this.#lockFile} since ${this.#seconds} s, held by ${who}`;
    const fields = { lockFile: this.#lockFile, holder: holder?.pid };
    this.#call.log?.warn(fields, `${text}; rules stay as they are until it is free`);
    this.#wasSaid = true;
  }

  get #seconds(): string {
    return ((performance.now() - this.#beganAtMs) / 1000).toFixed(1);
  }
}
