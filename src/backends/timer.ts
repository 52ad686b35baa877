/** Longer timers fire at once (Node keeps their time in 31 bits). */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** One call that is due some time; setting it anew forgets the one before. */
export class Timer {
  #timeout: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /** What is due now waits for the events that have arrived, and no longer: Node makes a whole millisecond of a timeout of 0. */
  set(call: () => void, waitMs: number): void {
    this.clear();
    if (waitMs > 0) this.#timeout = setTimeout(call, Math.min(waitMs, MAX_TIMER_MS));
    else this.#immediate = setImmediate(call);
  }

  clear(): void {
    clearTimeout(this.#timeout);
    clearImmediate(this.#immediate);
  }
}
