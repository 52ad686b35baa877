import type { HeldLock, Lock, LockHolder } from '../../src/lifecycle/lock.ts';

interface Waiter {
  readonly pid: number;
  readonly give: (held: HeldLock) => void;
}

/** A lock file in memory: one process has it at a time, those who wait get it in turn, and what a dead one had is free. */
export class FakeLockFile {
  #owner: { readonly pid: number } | undefined;
  #lastPid: number | undefined;
  #waiting: Waiter[] = [];

  /** The file as one process sees it. */
  openedBy(pid: number): Lock {
    return {
      tryAcquire: async () => (this.#owner === undefined ? this.#take(pid) : undefined),
      acquire: signal => this.#acquire(pid, signal),
      holder: () => this.#holder(),
    };
  }

  /** What kill -9 does. */
  kill(pid: number): void {
    this.#waiting = this.#waiting.filter(waiter => waiter.pid !== pid);
    if (this.#owner?.pid === pid) this.#free();
  }

  get ownerPid(): number | undefined {
    return this.#owner?.pid;
  }

  #holder(): LockHolder | undefined {
    if (this.#lastPid === undefined) return undefined;
    return { pid: this.#lastPid, isPidOurs: true, what: 'kproxy-ts test' };
  }

  async #acquire(pid: number, signal: AbortSignal): Promise<HeldLock> {
    signal.throwIfAborted();
    if (this.#owner === undefined) return this.#take(pid);
    return new Promise((give, reject) => {
      const waiter = { pid, give };
      this.#waiting.push(waiter);
      signal.addEventListener('abort', () => {
        if (!this.#waiting.includes(waiter)) return;
        this.#waiting = this.#waiting.filter(other => other !== waiter);
        reject(signal.reason as Error);
      });
    });
  }

  #take(pid: number): HeldLock {
    const owner = { pid };
    this.#owner = owner;
    this.#lastPid = pid;
    return {
      [Symbol.dispose]: () => {
        if (this.#owner === owner) this.#free();
      },
    };
  }

  #free(): void {
    this.#owner = undefined;
    const next = this.#waiting.shift();
    if (next !== undefined) next.give(this.#take(next.pid));
  }
}
