/** When workers that died are replaced. */

const FIRST_MS = 100;
const LONGEST_MS = 30_000;
/** Workers that lived so long died of something new. */
const LONG_LIFE_MS = 60_000;

/** The first is nearly at once, each next one waits twice as long, so that what dies at once isn't started without end. */
export class Replacement implements Disposable {
  readonly #onDue: () => void;
  readonly #now: () => number;
  #deaths = 0;
  #bornAtMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  /** Of a worker that runs no more, while it has no replacement. */
  death: Error | undefined;
  /** The time for one has come. */
  isDue = false;

  /** @param now monotonic milliseconds */
  constructor(onDue: () => void, now: () => number = () => performance.now()) {
    this.#onDue = onDue;
    this.#now = now;
  }

  /** How long it will take, in milliseconds; undefined = one is coming already. */
  after(death: Error): number | undefined {
    if (this.death !== undefined) return undefined;
    this.death = death;
    if (this.#now() - this.#bornAtMs >= LONG_LIFE_MS) this.#deaths = 0;
    const waitMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#deaths);
    this.#deaths += 1;
    this.#timer = setTimeout(() => {
      this.isDue = true;
      this.#onDue();
    }, waitMs);
    this.#timer.unref();
    return waitMs;
  }

  /** Others run. */
  done(): void {
    this[Symbol.dispose]();
    this.#bornAtMs = this.#now();
  }

  /** None is wanted any more. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.death = undefined;
    this.isDue = false;
  }
}
