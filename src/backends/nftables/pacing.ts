/** So many calls at once, and one more every so often. */
const BURST = 12;
const REFILL_MS = 5000;

/**
 * Passes calls on at once as long as there are few, then one every 5 s: two programs that undo each other's changes mustn't take a whole core for
 * that. What comes while one waits is one with it.
 */
export class Pacing implements Disposable {
  readonly #call: () => void;
  readonly #now: () => number;
  #left = BURST;
  #countedAtMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(call: () => void, now: () => number) {
    this.#call = call;
    this.#now = now;
    this.#countedAtMs = now();
  }

  ask(): void {
    if (this.#timer !== undefined) return;
    this.#refill();
    if (this.#left > 0) {
      this.#pass();
      return;
    }
    const waitMs = this.#countedAtMs + REFILL_MS - this.#now();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#refill();
      this.#pass();
    }, waitMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #pass(): void {
    this.#left = Math.max(this.#left - 1, 0);
    this.#call();
  }

  #refill(): void {
    const more = Math.floor((this.#now() - this.#countedAtMs) / REFILL_MS);
    this.#left = Math.min(this.#left + more, BURST);
    this.#countedAtMs += more * REFILL_MS;
  }
}
