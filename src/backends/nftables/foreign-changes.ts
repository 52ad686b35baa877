import { NftEvents } from '../../linux/nf-tables-events.ts';
import { readGeneration } from '../../linux/nfnetlink.ts';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../net/ip.ts';
import { CommitCount } from './commit-count.ts';
import { TABLE } from './names.ts';
import { Pacing } from './pacing.ts';
import { layoutOf } from './packet.ts';

/** What other programs do to our table, in both families: the process's one listener to the kernel's events. */
export class ForeignChanges {
  readonly #log: Logger;
  /** How often the table may have been changed, a family. */
  readonly #changes = new Map<IPFamily, number>();
  readonly #followers = new Map<IPFamily, Pacing>();
  readonly #commits = new CommitCount(readGeneration);
  #events: Promise<NftEvents | undefined> | undefined;
  /** Without events every look must read. */
  #isBlind = true;

  readonly #receiveBytes: number | undefined;

  /** `receiveBytes`: see NftEventsOptions. */
  constructor(log: Logger, receiveBytes?: number) {
    this.#log = log;
    this.#receiveBytes = receiveBytes;
  }

  /** A table is about to be read: from now on changes of others are told of, even those before `follow`. */
  async begin(): Promise<void> {
    if (this.#events === undefined) await this.#commits.begin();
  }

  /** We have committed a transaction. */
  noteOwn(): void {
    this.#commits.noteOwn();
  }

  /**
   * Calls back when somebody else changes the family's table: at once, unless that happens all the time. Best called after a first load: the kernel tells a
   * listener of each element, which makes its own work twice to three times as long.
   */
  async follow(family: IPFamily, onForeign: () => void): Promise<void> {
    this.#followers.get(family)?.[Symbol.dispose]();
    this.#followers.set(family, new Pacing(onForeign, () => performance.now()));
    this.#events ??= this.#open();
    await this.#events;
    if (!this.#isBlind && !(await this.#commits.areAllOurs())) this.#note(layoutOf(family).protocol);
  }

  /** Counts the changes of a family's table by others, as far as they are known by now. */
  countOf(family: IPFamily): number {
    return this.#changes.get(family) ?? 0;
  }

  /** Whether there may have been one since the count was `before`. */
  async isSuspect(family: IPFamily, before: number): Promise<boolean> {
    // What was lost may have been about any family.
    if (await (await this.#events)?.haveLost()) for (const each of this.#followers.keys()) this.#count(each);
    return this.#isBlind || this.countOf(family) !== before;
  }

  /** Ends `follow`; with the last follower the listener goes. */
  async leave(family: IPFamily): Promise<void> {
    this.#followers.get(family)?.[Symbol.dispose]();
    this.#followers.delete(family);
    if (this.#followers.size > 0) return;
    const events = await this.#events;
    this.#events = undefined;
    this.#isBlind = true;
    events?.[Symbol.dispose]();
  }

  async #open(): Promise<NftEvents | undefined> {
    try {
      const events = await NftEvents.open({
        table: TABLE,
        onForeign: protocol => this.#note(protocol),
        ...(this.#receiveBytes === undefined ? {} : { receiveBytes: this.#receiveBytes }),
      });
      this.#isBlind = false;
      return events;
    } catch (err) {
      this.#log.warn(
        { component: 'backend', err },
        'nf_tables does not tell of changes: the table is read every sync period instead',
      );
      return undefined;
    }
  }

  #note(protocol: number): void {
    for (const [family, follower] of this.#followers) {
      if (protocol !== layoutOf(family).protocol) continue;
      this.#count(family);
      follower.ask();
    }
  }

  #count(family: IPFamily): void {
    this.#changes.set(family, this.countOf(family) + 1);
  }
}
