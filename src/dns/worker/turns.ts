/** Works a list off in turns of the event loop, so that what comes in by sockets never waits for all of it. */
export class Turns<T> {
  readonly #work: (items: readonly T[]) => void;
  readonly #perTurn: number;
  readonly #waiting: T[][] = [];
  #working: Promise<void> | undefined;

  constructor(work: (items: readonly T[]) => void, perTurn: number) {
    this.#work = work;
    this.#perTurn = perTurn;
  }

  /** A few are worked off at once, where nothing waits. */
  add(items: readonly T[]): void {
    if (this.#working === undefined && items.length <= this.#perTurn) {
      this.#work(items);
      return;
    }
    for (let at = 0; at < items.length; at += this.#perTurn) this.#waiting.push(items.slice(at, at + this.#perTurn));
    this.#working ??= this.#run();
  }

  /** Resolves when what was added so far has been worked off. */
  async settled(): Promise<void> {
    await this.#working;
  }

  async #run(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.#work(next);
      await new Promise<void>(resolve => setImmediate(resolve));
    }
    this.#working = undefined;
  }
}
