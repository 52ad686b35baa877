import type { KernelCallOptions, Plan } from '../backend.ts';
import type { IptablesIO } from './apply.ts';
import type { Mark } from './generation.ts';
import type { IptablesObject } from './objects.ts';
import { fingerprint, readTables } from './read.ts';

/** What was known of the tables when a Plan was read or last found unchanged. */
interface Baseline {
  /** Of the moment before; undefined where nf_tables doesn't tell. */
  readonly mark: Mark | undefined;
  readonly fingerprint: string;
  /** How often we had written. */
  readonly writes: number;
}

/**
 * Finds out whether somebody else may have changed the tables since a Plan was read. Two ways, the cheaper first: all commits
 * to nf_tables since were ours; or the tables' text is what it was, which only tells when we haven't written since.
 */
export class DriftWatch {
  readonly #io: IptablesIO;
  readonly #baselines = new WeakMap<ReadonlyMap<string, IptablesObject>, Baseline>();
  #writes = 0;

  constructor(io: IptablesIO) {
    this.#io = io;
  }

  /** Reads our objects, and remembers what is needed to tell later whether they are still so. */
  async read(): Promise<Plan<IptablesObject>> {
    // Before the tables, so that what happens while they are read counts as later.
    const mark = await this.#mark();
    const writes = this.#writes;
    const reading = await readTables(this.#io);
    this.#baselines.set(reading.plan, { mark, fingerprint: reading.fingerprint, writes });
    return reading.plan;
  }

  /** We are about to change the tables. */
  noteWrite(): void {
    this.#writes += 1;
  }

  /** See Backend.hasDrifted. `plan` is one that `read` returned, with our changes since. */
  async hasDrifted(plan: ReadonlyMap<string, IptablesObject>, options: KernelCallOptions = {}): Promise<boolean> {
    const baseline = this.#baselines.get(plan);
    if (baseline === undefined) return true;
    const { mark } = baseline;
    if (mark !== undefined && (await this.#io.generation?.isOursSince(mark)) === true) return false;
    if (baseline.writes !== this.#writes) return true;
    const before = await this.#mark();
    if ((await fingerprint(this.#io, options)) !== baseline.fingerprint) return true;
    this.#baselines.set(plan, { ...baseline, mark: before });
    return false;
  }

  async #mark(): Promise<Mark | undefined> {
    const { tools, generation } = this.#io;
    return tools.variant === 'nft' ? generation?.mark() : undefined;
  }
}
