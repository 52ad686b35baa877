/** Time as a port, so that tests decide when it passes. */
export interface Clock {
  /** Milliseconds since 1970; never goes back. */
  now(): number;
  /** Calls back once after so many milliseconds; the returned function cancels that. */
  after(ms: number, callback: () => void): () => void;
}

/** The machine's time, without the steps that NTP or an administrator make in the wall clock. */
export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** Resolves after so many milliseconds, or as soon as the signal is aborted. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return Promise.resolve();
  return new Promise(resolve => {
    const wake = () => {
      cancel();
      signal.removeEventListener('abort', wake);
      resolve();
    };
    const cancel = clock.after(ms, wake);
    signal.addEventListener('abort', wake);
  });
}

/**
 * Calls `onExpired` when `touch` hasn't been called for so many milliseconds. One timer at a time, however often touched.
 */
export class Watchdog implements Disposable {
  readonly #clock: Clock;
  readonly #ms: number;
  readonly #onExpired: () => void;
  #touchedAt: number;
  #cancel: () => void;

  constructor(clock: Clock, ms: number, onExpired: () => void) {
    this.#clock = clock;
    this.#ms = ms;
    this.#onExpired = onExpired;
    this.#touchedAt = clock.now();
    this.#cancel = clock.after(ms, () => this.#check());
  }

  touch(): void {
    this.#touchedAt = this.#clock.now();
  }

  [Symbol.dispose](): void {
    this.#cancel();
  }

  #check(): void {
    const left = this.#touchedAt + this.#ms - this.#clock.now();
    if (left <= 0) this.#onExpired();
    else this.#cancel = this.#clock.after(left, () => this.#check());
  }
}
