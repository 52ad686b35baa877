import type { IPFamily, Node } from '../watch/objects.ts';

/** What the health routes ask about one IP family. Times are milliseconds since 1970. */
export interface FamilyHealth {
  readonly syncPeriodMs: number;
  /** When the oldest change that waits was queued; absent when none waits. */
  readonly pendingSinceMs?: number;
  /** When the kernel last had everything; absent before the first time. */
  readonly lastUpdatedMs?: number;
}

/** What keeps the node from being ready: a family (or what the program waits for), and why. */
export interface MissingPart {
  readonly part: string;
  readonly reason: string;
}

/** What the health routes read; they ask at every request and keep nothing. */
export interface HealthState {
  families(): ReadonlyMap<IPFamily, FamilyHealth>;
  /** Whether load balancers should send traffic here: the node is neither being deleted nor about to be. */
  isNodeEligible(): boolean;
  /** Empty when every family has been programmed and its last sync didn't fail. */
  missing(): readonly MissingPart[];
}

/** The taint that the cluster autoscaler sets before it deletes a node. */
const TO_BE_DELETED_TAINT = 'ToBeDeletedByClusterAutoscaler';

/** undefined (not seen yet, or a source without Nodes) counts as eligible. */
export function isNodeEligible(node: Node | undefined): boolean {
  return node === undefined || !(node.isDeleting || node.taints.includes(TO_BE_DELETED_TAINT));
}

interface FamilyState {
  readonly syncPeriodMs: number;
  pendingSinceMs?: number | undefined;
  lastUpdatedMs?: number | undefined;
  failure?: string | undefined;
}

/** Remembers what the sync loops report, for the health routes. The caller names all families at the start. */
export class SyncHealth implements HealthState {
  readonly #families: ReadonlyMap<IPFamily, FamilyState>;
  readonly #now: () => number;
  #node: Node | undefined;

  constructor(options: { families: readonly IPFamily[]; syncPeriodMs: number; now: () => number }) {
    const { families, syncPeriodMs, now } = options;
    this.#families = new Map(families.map(family => [family, { syncPeriodMs }]));
    this.#now = now;
  }

  /** This process begins to write, maybe not for the first time: what it did earlier says nothing. */
  restart(): void {
    for (const state of this.#families.values()) {
      state.pendingSinceMs = undefined;
      state.lastUpdatedMs = undefined;
      state.failure = undefined;
    }
  }

  /** A change waits to be written to the kernel; of several the first counts. */
  queued(family: IPFamily): void {
    const state = this.#state(family);
    state.pendingSinceMs ??= this.#now();
  }

  /** The kernel has everything that was queued. */
  updated(family: IPFamily): void {
    const state = this.#state(family);
    state.lastUpdatedMs = this.#now();
    state.pendingSinceMs = undefined;
    state.failure = undefined;
  }

  /** A sync failed; what was queued still waits. */
  failed(family: IPFamily, reason: string): void {
    this.#state(family).failure = reason;
  }

  /** This node's object as it was last seen; a caller that sees it go away keeps the last one. */
  sawNode(node: Node | undefined): void {
    this.#node = node;
  }

  families(): ReadonlyMap<IPFamily, FamilyHealth> {
    return new Map([...this.#families].map(([family, state]) => [family, familyHealth(state)]));
  }

  isNodeEligible(): boolean {
    return isNodeEligible(this.#node);
  }

  missing(): readonly MissingPart[] {
    return [...this.#families].flatMap(([part, { failure, lastUpdatedMs }]) => {
      if (failure !== undefined) return [{ part, reason: `last sync failed: ${failure}` }];
      return lastUpdatedMs === undefined ? [{ part, reason: 'not programmed yet' }] : [];
    });
  }

  #state(family: IPFamily): FamilyState {
    const state = this.#families.get(family);
    if (state === undefined) throw new TypeError(`${family} isn't one of the families of this node`);
    return state;
  }
}

function familyHealth({ syncPeriodMs, pendingSinceMs, lastUpdatedMs }: FamilyState): FamilyHealth {
  return {
    syncPeriodMs,
    ...(pendingSinceMs === undefined ? {} : { pendingSinceMs }),
    ...(lastUpdatedMs === undefined ? {} : { lastUpdatedMs }),
  };
}
