/**
 * Tells whether everything that was committed to nf_tables since a moment is this process's: each commit raises the generation by one. Any doubt counts
 * as somebody else's.
 */
export class CommitCount {
  readonly #readGeneration: () => Promise<number>;
  #own = 0;
  /** The generation without our commits, at the moment. */
  #others: Promise<number | undefined> | undefined;

  constructor(readGeneration: () => Promise<number>) {
    this.#readGeneration = readGeneration;
  }

  noteOwn(): void {
    this.#own += 1;
  }

  /** The moment is now, at the first call. */
  async begin(): Promise<void> {
    this.#others ??= this.#generation().then(now => (now === undefined ? undefined : now - this.#own));
    await this.#others;
  }

  async areAllOurs(): Promise<boolean> {
    const own = this.#own;
    const [others, generation] = [await this.#others, await this.#generation()];
    return others !== undefined && generation !== undefined && generation - own === others;
  }

  async #generation(): Promise<number | undefined> {
    try {
      return await this.#readGeneration();
    } catch {
      return undefined;
    }
  }
}
