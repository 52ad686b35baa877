import { ApiError, isExpired, isProtocolError } from './api-error.ts';
import { Backoff } from './backoff.ts';
import type { Clock } from './clock.ts';

/** So many errors in a row for one resourceVersion: it is the version that the server cannot serve. */
const MOST_REFUSALS = 5;
/** Errors that say nothing about the resourceVersion: credentials, permissions, load. */
const UNRELATED_STATUS: ReadonlySet<number> = new Set([401, 403, 404, 429]);
/** kube-apiserver asks for 1 to 10 s; what a proxy's maintenance page says must not silence us for a day. */
const LONGEST_RETRY_AFTER_MS = 60_000;
/** A 410 so soon after another is no accident: then even a list has to wait. */
const RARE_EXPIRY_MS = 60_000;

/** What a failure means for the next attempt. */
export interface Verdict {
  readonly delayMs: number;
  /** What is known of the resourceVersion is worth nothing any more. */
  readonly needsList: boolean;
}

/** Judges the failures of one list and watch. */
export class RetryPolicy {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  #refusals = 0;
  #expiredAtMs = Number.NEGATIVE_INFINITY;

  /** `random` returns numbers from 0 to below 1. */
  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
    this.#backoff = new Backoff(random, clock);
  }

  /** The server delivered something. */
  delivered(): void {
    this.#refusals = 0;
    this.#backoff.succeeded();
  }

  judge(failure: unknown): Verdict {
    if (isExpired(failure)) {
      const now = this.#clock.now();
      const isRare = now - this.#expiredAtMs >= RARE_EXPIRY_MS;
      this.#expiredAtMs = now;
      return { delayMs: isRare ? 0 : this.#backoff.next(), needsList: true };
    }
    const wantedMs = failure instanceof ApiError ? Math.min(failure.retryAfterMs, LONGEST_RETRY_AFTER_MS) : 0;
    // What all nodes were told to wait is spread, or they would come back together.
    const toldMs = Math.round(wantedMs * (1 + 0.2 * this.#random()));
    return { delayMs: Math.max(this.#backoff.next(), toldMs), needsList: this.#needsList(failure) };
  }

  #needsList(failure: unknown): boolean {
    if (!(failure instanceof ApiError) || isProtocolError(failure)) return true;
    if (failure.kind !== 'status' || UNRELATED_STATUS.has(failure.status)) return false;
    this.#refusals += 1;
    return this.#refusals >= MOST_REFUSALS;
  }
}
