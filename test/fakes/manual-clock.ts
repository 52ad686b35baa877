import type { Clock } from '../../src/watch/clock.ts';

interface Timer {
  readonly ms: number;
  readonly at: number;
  readonly callback: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #now = 1_000_000;
  readonly #timers = new Set<Timer>();
  readonly #waiters = new Set<() => void>();

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const timer: Timer = { ms, at: this.#now + ms, callback };
    this.#timers.add(timer);
    for (const waiter of this.#waiters) waiter();
    return () => this.#timers.delete(timer);
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Resolves as soon as a timer of exactly so many milliseconds waits. */
  async armed(ms: number): Promise<void> {
    const isArmed = () => [...this.#timers].some(timer => timer.ms === ms);
    while (!isArmed()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
    }
  }

  /** Moves time and calls back what falls due on the way, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(timer => timer.at <= end).toSorted((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
    this.#now = end;
  }

  /** Waits until a timer of at most so many milliseconds waits, and lets its time pass. */
  async next(mostMs: number): Promise<void> {
    const find = () => [...this.#timers].filter(({ ms }) => ms <= mostMs).toSorted((a, b) => a.at - b.at)[0];
    for (let timer = find(); ; timer = find()) {
      if (timer !== undefined) return this.advance(timer.at - this.#now);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
    }
  }

  /** Waits until a timer of so many milliseconds waits, and lets that time pass. */
  async pass(ms: number): Promise<void> {
    await this.armed(ms);
    this.advance(ms);
  }
}
