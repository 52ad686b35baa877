import { setTimeout as delay } from 'node:timers/promises';
import { ExecError } from '../../linux/exec.ts';

/** A moment in the history of nf_tables: what the kernel had counted, and what of it was ours. */
export interface Mark {
  readonly generation: number;
  readonly ownCommits: number;
  readonly doubts: number;
}

export interface NftGenerationOptions {
  /** Rejects where the kernel doesn't tell (no nf_tables, no permission, no native code for this machine). */
  readonly read: () => Promise<number>;
  /** Called at the first rejection: from then on it costs a look at the rules to know whether somebody else changed them. */
  readonly onUnavailable: (error: unknown) => void;
}

/** While other calls of ours are under way, a mark waits for a quiet moment, but not longer than this. */
const QUIET_WAIT_MS = 5;
const QUIET_TRIES = 20;

/**
 * Tells other programs' commits to nf_tables from ours. The kernel counts all commits in one number, the generation, for both
 * families and everybody; iptables-nft-restore makes one commit for each table that it changes (as measured: none when it is
 * refused, none for a section without commands). So as long as the generation has grown by the commits that we made,
 * nobody else has made one. One of these for all backends of the process, which counts what each of them does.
 */
export class NftGeneration {
  readonly #options: NftGenerationOptions;
  #wasUnavailable = false;
  #commits = 0;
  #underWay = 0;
  /** Calls of which nobody knows whether they committed: nothing can be proven over one. */
  #doubts = 0;

  constructor(options: NftGenerationOptions) {
    this.#options = options;
  }

  /** Counts the one commit of `call`, which changes one table. */
  async counting<T>(call: () => Promise<T>): Promise<T> {
    this.#underWay += 1;
    try {
      const result = await call();
      this.#commits += 1;
      return result;
    } catch (error) {
      const wasRefused = error instanceof ExecError && error.exitCode > 0;
      if (!wasRefused) this.#doubts += 1;
      throw error;
    } finally {
      this.#underWay -= 1;
    }
  }

  /** This moment; undefined when the kernel doesn't tell, or no moment is quiet. */
  async mark(): Promise<Mark | undefined> {
    for (let attempt = 1; attempt <= QUIET_TRIES; attempt += 1) {
      const before = this.#ours;
      if (before.underWay === 0) {
        const generation = await this.#ask();
        if (generation === undefined) return undefined;
        const { commits, doubts, underWay } = this.#ours;
        const wasQuiet = underWay === 0 && commits === before.commits && doubts === before.doubts;
        if (wasQuiet) return { generation, ownCommits: commits, doubts };
      }
      await delay(QUIET_WAIT_MS);
    }
    return undefined;
  }

  /**
   * Whether all commits since `mark` were ours. A call of ours that is under way may or may not be counted yet, so another's
   * commit may go unnoticed meanwhile; the next question with the same mark tells.
   */
  async isOursSince(mark: Mark): Promise<boolean> {
    const atLeast = this.#commits;
    const generation = await this.#ask();
    const { commits, doubts, underWay } = this.#ours;
    if (generation === undefined || doubts !== mark.doubts) return false;
    const all = (generation - mark.generation) >>> 0;
    return all >= atLeast - mark.ownCommits && all <= commits + underWay - mark.ownCommits;
  }

  get #ours(): { commits: number; doubts: number; underWay: number } {
    return { commits: this.#commits, doubts: this.#doubts, underWay: this.#underWay };
  }

  async #ask(): Promise<number | undefined> {
    try {
      return await this.#options.read();
    } catch (error) {
      if (!this.#wasUnavailable) this.#options.onUnavailable(error);
      this.#wasUnavailable = true;
      return undefined;
    }
  }
}
