import type { Clock } from './clock.ts';

const FIRST_MS = 800;
const LONGEST_MS = 30_000;
const MOST_RESETS = 5;
const RESET_EVERY_MS = 60_000;

/**
 * Growing delays between failures: 0.8 s, doubling up to 30 s, each ± 20 % so that nodes don't come back in step. A success
 * makes the next delay short again, so that a server that restarts is followed quickly; but only five times in a row and
 * then once a minute, so that one that answers and breaks off without end gets some seven attempts a minute, not a storm.
 */
export class Backoff {
  readonly #random: () => number;
  readonly #clock: Clock;
  #failures = 0;
  #resets = MOST_RESETS;
  #refilledAtMs: number;

  /** `random` returns numbers from 0 to below 1. */
  constructor(random: () => number, clock: Clock) {
    this.#random = random;
    this.#clock = clock;
    this.#refilledAtMs = clock.now();
  }

  /** The delay after one more failure, in milliseconds. */
  next(): number {
    const delayMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    return Math.round(delayMs * (0.8 + 0.4 * this.#random()));
  }

  /** The server delivered something. */
  succeeded(): void {
    if (this.#failures === 0) return;
    const refills = Math.floor((this.#clock.now() - this.#refilledAtMs) / RESET_EVERY_MS);
    this.#refilledAtMs += refills * RESET_EVERY_MS;
    this.#resets = Math.min(MOST_RESETS, this.#resets + refills);
    if (this.#resets === 0) return;
    this.#resets -= 1;
    this.#failures = 0;
  }
}
