import type { SignsOfLife } from '../node-address/signs-of-life.ts';

/** How often a worker says that it lives, and how often one of them looks and gives a sign of life; what a sign says holds for a second. */
const PULSE_MS = 100;
const BEAT_MS = 250;
/** Beats. For a moment it may be so, while the address, or what is done to its packets, is being changed. */
const FAILING_AFTER = 8;

export interface HeartOptions {
  readonly signs: SignsOfLife;
  /** A number for each worker. */
  readonly pulses: Int32Array;
  readonly index: number;
  /** The kernel has taken none for a while. */
  readonly onFailing: (error: unknown) => void;
}

/** Gives signs of life while every worker's event loop turns: a question may come to any of them. */
export class Heart {
  readonly #options: HeartOptions;
  #seen: readonly number[] = [];
  #beats: NodeJS.Timeout | undefined;
  #failedInRow = 0;

  constructor(options: HeartOptions) {
    this.#options = options;
    const { pulses, index } = options;
    setInterval(() => Atomics.add(pulses, index, 1), PULSE_MS).unref();
  }

  async beat(isBeating: boolean): Promise<void> {
    clearInterval(this.#beats);
    this.#beats = undefined;
    if (!isBeating) return this.#options.signs.given();
    this.#beats = setInterval(() => this.#look(), BEAT_MS);
    this.#beats.unref();
    await this.#options.signs.give();
  }

  #look(): void {
    const { pulses } = this.#options;
    const now = Array.from(pulses, (_, i) => Atomics.load(pulses, i));
    const live = now.every((count, i) => count !== this.#seen[i]);
    this.#seen = now;
    if (live) void this.#give();
  }

  async #give(): Promise<void> {
    const { signs, onFailing } = this.#options;
    try {
      await signs.give();
      this.#failedInRow = 0;
    } catch (error) {
      this.#failedInRow += 1;
      if (this.#failedInRow === FAILING_AFTER) onFailing(error);
    }
  }
}
