import type { SyncFollower } from './sync-follower.ts';
import type { StoreChanges } from './watch/changes.ts';
import type { IPFamily } from './watch/objects.ts';

export interface PendingChangesOptions {
  readonly family: IPFamily;
  /** A change of endpoints is programmed so many seconds after what led to it. */
  readonly onProgrammed: (seconds: number) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** While the kernel takes nothing, changes may come for hours: of so many the time is remembered. */
const REMEMBERED = 10_000;

interface Batch {
  /** namespace/name of Services that changed, and of those whose endpoints did. */
  readonly services: Set<string>;
  readonly endpoints: Set<string>;
  readonly triggersMs: number[];
}

/** What one family hasn't programmed yet, and how long it took since the change that led to it. */
export class PendingChanges implements SyncFollower {
  readonly #options: PendingChangesOptions;
  /** Since the last sync began. */
  #waiting = newBatch();
  /** What the sync under way, or one that failed, has pulled. */
  #pulled = newBatch();
  /** Before the first sync, and while another process writes, it isn't us whom a change waits for. */
  #isWriting = false;

  constructor(options: PendingChangesOptions) {
    this.#options = options;
  }

  /** Services that changed and aren't programmed. */
  get services(): number {
    return union(this.#waiting.services, this.#pulled.services).size;
  }

  /** Services whose endpoints changed and aren't programmed. */
  get endpoints(): number {
    return union(this.#waiting.endpoints, this.#pulled.endpoints).size;
  }

  /** The store has changed. */
  noted({ services, slices }: StoreChanges): void {
    const waiting = this.#waiting;
    for (const service of services) waiting.services.add(service);
    for (const { service, family, changeTriggerMs } of slices) {
      if (family !== this.#options.family) continue;
      waiting.endpoints.add(service);
      const isTimed = this.#isWriting && changeTriggerMs > 0 && waiting.triggersMs.length < REMEMBERED;
      if (isTimed) waiting.triggersMs.push(changeTriggerMs);
    }
  }

  pulled(): void {
    this.#isWriting = true;
    this.#pulled = {
      services: union(this.#pulled.services, this.#waiting.services),
      endpoints: union(this.#pulled.endpoints, this.#waiting.endpoints),
      triggersMs: [...this.#pulled.triggersMs, ...this.#waiting.triggersMs].slice(0, REMEMBERED),
    };
    this.#waiting = newBatch();
  }

  synced(): void {
    const nowMs = this.#options.now();
    for (const triggerMs of this.#pulled.triggersMs) {
      this.#options.onProgrammed(Math.max(0, nowMs - triggerMs) / 1000);
    }
    this.#pulled = newBatch();
  }

  paused(): void {
    this.#isWriting = false;
    this.#waiting.triggersMs.length = 0;
    this.#pulled.triggersMs.length = 0;
  }
}

function newBatch(): Batch {
  return { services: new Set(), endpoints: new Set(), triggersMs: [] };
}

function union(a: ReadonlySet<string>, b: ReadonlySet<string>): Set<string> {
  return new Set([...a, ...b]);
}
