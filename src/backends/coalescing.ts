/** Events of one burst arrive within this time; longer would be latency, shorter more commits. */
const COALESCE_MS = 3;

/**
 * How long a sync waits for more events after the first one. Where a sync of one change is cheap, only soon after another sync: a single change reaches the
 * kernel at once, and a burst takes about as many commits as with the wait, since the events of a packet arrive together and those of a sync's time wait for its end.
 */
export class Coalescing {
  readonly #startsAtOnce: boolean;
  readonly #now: () => number;
  #finishedAtMs = Number.NEGATIVE_INFINITY;

  constructor(startsAtOnce: boolean, now: () => number) {
    this.#startsAtOnce = startsAtOnce;
    this.#now = now;
  }

  get waitMs(): number {
    const isQuiet = this.#now() - this.#finishedAtMs >= COALESCE_MS;
    return this.#startsAtOnce && isQuiet ? 0 : COALESCE_MS;
  }

  noteSync(): void {
    this.#finishedAtMs = this.#now();
  }
}
