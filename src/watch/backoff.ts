const FIRST_MS = 800;
const LONGEST_MS = 30_000;

/** Growing delays between failures: 0.8 s, doubling up to 30 s, each ± 20 % so that nodes don't come back in step. */
export class Backoff {
  readonly #random: () => number;
  #failures = 0;

  /** `random` returns numbers from 0 to below 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** How many delays were taken since the last reset. */
  get failures(): number {
    return this.#failures;
  }

  /** The delay after one more failure, in milliseconds. */
  next(): number {
    const delayMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    return Math.round(delayMs * (0.8 + 0.4 * this.#random()));
  }

  reset(): void {
    this.#failures = 0;
  }
}
