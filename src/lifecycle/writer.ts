/**
 * Who writes this node's rules. One process does, the holder of the lock; it alone has the health and metrics ports and the
 * socket. The others are ready to: they follow the cluster and wait for the lock in the kernel's queue.
 *
 *   waiting ──the lock is free──► writing ──asked, drained──► stand-by ──the lock is free──► writing …
 *      └──could write, asks the holder once──┘
 *
 * Only a process that hasn't written yet asks; a stand-by never does, else the old and the new one would ask back and forth.
 * Whoever is about to take over holds a second lock, `next`: a stand-by that gets the lock meanwhile gives it on. The kernel
 * frees both locks of a process that dies, at any moment, so there is nothing to clean up and no timeout that could be wrong.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type HeldLock, holderText, type Lock } from './lock.ts';

export interface Tenure extends AsyncDisposable {
  /** Finishes the sync under way, writes nothing more, and frees the ports. */
  drain(): Promise<void>;
}

export interface WriterOptions {
  readonly lock: Lock;
  /** Held by the one that is about to take over. */
  readonly next: Lock;
  /** Called when another process has the lock; resolves when this one could program the node: only then it asks. */
  readonly prepare: () => Promise<void>;
  /** Asks the holder to hand over, and resolves when it has drained. Rejects when it refuses or doesn't answer. */
  readonly ask: (signal: AbortSignal) => Promise<void>;
  /** Everything that only the holder has: ports, socket, the loops that write. The lock is released after its disposal. */
  readonly startTenure: () => Promise<Tenure>;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  /** Resolves after so many milliseconds, rejects when aborted. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

const STANDS_BY = 'handed over: this process stands by, ready to write again when the other one ends';
const GOES = 'this process writes no more, and frees the lock';

/** The waits between two requests to a holder that doesn't hand over. */
const FIRST_ASK_AGAIN_MS = 1000;
const LAST_ASK_AGAIN_MS = 60_000;

/** The state machine of the file's comment. */
export class Writer {
  readonly #options: WriterOptions;
  /** While we write: what a request to hand over calls. */
  #leave: (() => Promise<void>) | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /** Whether this process is the node's writer. */
  get isWriting(): boolean {
    return this.#leave !== undefined;
  }

  /**
   * Writes whenever it may, until the signal is aborted; then the sync under way has finished and the lock is free.
   * Rejects with what kept a tenure from starting, or the lock from being used.
   */
  async run(signal: AbortSignal): Promise<void> {
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      const held = await this.#acquire({ mayAsk: isFirst, signal }).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
      if (held === undefined) return;
      using _lock = held;
      this.#say(isFirst ? 'this process writes the rules' : 'the lock is free: this process writes the rules again');
      await this.#write(signal);
      this.#say(signal.aborted ? GOES : STANDS_BY);
    }
  }

  /** Another process asks for the lock: resolves when this one has drained and is about to release it. */
  handOver(): Promise<void> {
    return this.#leave?.() ?? Promise.reject(new Error('this process is not the writer'));
  }

  /** One tenure: until it's asked to hand over, or the signal is aborted. */
  async #write(signal: AbortSignal): Promise<void> {
    const asked = Promise.withResolvers<void>();
    const drained = Promise.withResolvers<void>();
    this.#leave = () => {
      asked.resolve();
      return drained.promise;
    };
    try {
      await using tenure = await this.#options.startTenure();
      await Promise.race([asked.promise, abortOf(signal)]);
      await tenure.drain();
      drained.resolve();
    } finally {
      drained.resolve();
      this.#leave = undefined;
    }
  }

  async #acquire({ mayAsk, signal }: { mayAsk: boolean; signal: AbortSignal }): Promise<HeldLock> {
    if (!mayAsk) return this.#standBy(signal);
    const free = await this.#options.lock.tryAcquire();
    if (free !== undefined && (await this.#keep(free))) return free;
    this.#sayOfHolder(
      "has the lock, and with it the health and metrics ports; it's asked to hand over once this process could write",
    );
    const waiting = new AbortController();
    const standingBy = this.#standBy(AbortSignal.any([signal, waiting.signal])).catch((error: unknown) => {
      if (!waiting.signal.aborted) throw error;
    });
    await Promise.race([standingBy, this.#options.prepare()]);
    waiting.abort();
    // It may have come while the wait was being given up.
    return (await standingBy) ?? this.#takeOver(signal);
  }

  /** Waits until the lock is free and nobody is about to take over. */
  async #standBy(signal: AbortSignal): Promise<HeldLock> {
    for (;;) {
      const held = await this.#options.lock.acquire(signal);
      if (await this.#keep(held)) return held;
      // Until that one has the lock, or is dead.
      release(await this.#options.next.acquire(signal));
    }
  }

  /** Whether a lock that came may be kept; it is released when another process is about to take over. */
  async #keep(held: HeldLock): Promise<boolean> {
    const next = await this.#options.next.tryAcquire();
    release(next ?? held);
    return next !== undefined;
  }

  /** As the next in line: asks until the lock is ours. */
  async #takeOver(signal: AbortSignal): Promise<HeldLock> {
    const { lock, next } = this.#options;
    using _next = await next.acquire(signal);
    const free = await lock.tryAcquire();
    if (free !== undefined) return free;
    const hasCome = new AbortController();
    const asking = this.#ask(AbortSignal.any([signal, hasCome.signal]));
    try {
      return await lock.acquire(signal);
    } finally {
      hasCome.abort();
      await asking;
    }
  }

  /** Asks the holder; again, with growing waits, for as long as the lock doesn't come. */
  async #ask(signal: AbortSignal): Promise<void> {
    const { ask, lock, log, sleep = sleepFor } = this.#options;
    this.#sayOfHolder('is asked to hand over');
    for (let waitMs = FIRST_ASK_AGAIN_MS; ; waitMs = Math.min(waitMs * 2, LAST_ASK_AGAIN_MS)) {
      const failure = await ask(signal).then(
        () => undefined,
        (error: unknown) => error,
      );
      await sleep(waitMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      const why = failure === undefined ? 'it said yes but keeps the lock' : reasonOf(failure);
      const holder = lock.holder();
      const advice = 'asking again; its rules stay, and if it hangs, end it: the lock goes with it';
      log.warn(
        { pid: process.pid, holder, err: failure },
        `${holderText(holder)} doesn't hand over: ${why}; ${advice}`,
      );
    }
  }

  #say(what: string): void {
    this.#options.log.info({ pid: process.pid }, what);
  }

  #sayOfHolder(what: string): void {
    const { lock, log } = this.#options;
    const holder = lock.holder();
    log.info({ pid: process.pid, holder }, `${holderText(holder)} ${what}`);
  }
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function release(held: HeldLock): void {
  held[Symbol.dispose]();
}

async function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
