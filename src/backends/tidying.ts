import type { KernelCallOptions } from './backend.ts';

export interface TidyingOptions {
  /** A backend's `tidy`. */
  readonly tidy: ((options?: KernelCallOptions) => Promise<void>) | undefined;
  /** It rejected though nobody ended it. */
  readonly onError: (error: unknown) => void;
}

/** Takes away what is not used any more, once a start, and beside the syncs: on a large node it takes many seconds, in which changes must not wait. */
export class Tidying {
  readonly #options: TidyingOptions;
  #isDone = false;
  #running: Promise<void> | undefined;

  constructor(options: TidyingOptions) {
    this.#options = options;
  }

  /** Everything is programmed: begins, unless that has been done since the last `reset`. */
  begin(signal: AbortSignal): void {
    const { tidy, onError } = this.#options;
    if (this.#isDone || tidy === undefined) return;
    this.#isDone = true;
    this.#running = tidy({ signal }).catch((error: unknown) => {
      this.#isDone = false;
      if (!signal.aborted) onError(error);
    });
  }

  /** Resolves when nothing is being taken away; the signal of `begin` ends what can be ended. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Another start: others may have left something meanwhile. */
  reset(): void {
    this.#isDone = false;
  }
}
