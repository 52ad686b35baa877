/** Work on one thing at a time, on different things side by side. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Whether something is under way for this key. */
  has(key: string): boolean {
    return this.#last.has(key);
  }

  get size(): number {
    return this.#last.size;
  }

  /** Runs `work` when all that was given before for this key has ended. */
  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key);
    const now = before === undefined ? work() : before.then(work, work);
    this.#last.set(key, now);
    const leave = () => {
      if (this.#last.get(key) === now) this.#last.delete(key);
    };
    now.then(leave, leave);
    return now;
  }

  /** Resolves when nothing is under way any more. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.allSettled(this.#last.values());
  }
}
