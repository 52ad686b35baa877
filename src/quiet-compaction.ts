/** Without a sync for so long, a pause of the collector disturbs nobody. */
const QUIET_MS = 1000;
/** So many syncs leave a few MB behind, and more where thousands of Services are in the snapshot. */
const SYNCS_TO_COMPACT = 20;

/** Gives the garbage of syncs back once a second has passed without one, if there is enough of it to make it worth the pause. */
export class QuietCompaction implements Disposable {
  readonly #compactHeap: () => void;
  readonly #release: (() => Promise<void>) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #syncs = 0;

  /** `release`: see FamilyBackend.releaseMemory. */
  constructor(compactHeap: () => void, release?: () => Promise<void>) {
    this.#compactHeap = compactHeap;
    this.#release = release;
  }

  /** A sync of what changed. */
  noteSync(syncs = 1): void {
    this.#syncs += syncs;
    clearTimeout(this.#timer);
    if (this.#syncs < SYNCS_TO_COMPACT) return;
    this.#timer = setTimeout(() => {
      this.#syncs = 0;
      this.#compactHeap();
      void this.#release?.();
    }, QUIET_MS);
  }

  /** A sync of everything, or a look at everything: the kernel's rules as text are as much. */
  noteFull(): void {
    this.noteSync(SYNCS_TO_COMPACT);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
