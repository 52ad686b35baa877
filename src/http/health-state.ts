import type { IPFamily, Kind, Node } from '../watch/objects.ts';

/** What the health routes ask about one IP family. Times are milliseconds since 1970. */
export interface FamilyHealth {
  readonly syncPeriodMs: number;
  /** When the oldest change that waits was queued; absent when none waits. */
  readonly pendingSinceMs?: number;
  /** When the kernel last had everything; absent before the first time. */
  readonly lastUpdatedMs?: number;
}

/** A queued update that waits this many sync periods means that the proxy is stuck. */
const PERIODS_UNTIL_STUCK = 2;

/** Whether a family's changes reach the kernel; one that was never programmed is starting up, which is healthy as in kube-proxy. */
export function isFamilyHealthy(family: FamilyHealth, nowMs: number): boolean {
  const { lastUpdatedMs, pendingSinceMs = nowMs, syncPeriodMs } = family;
  return lastUpdatedMs === undefined || nowMs - pendingSinceMs < PERIODS_UNTIL_STUCK * syncPeriodMs;
}

/** What keeps the node from being ready: a family (or what the program waits for), and why. */
export interface MissingPart {
  readonly part: string;
  readonly reason: string;
}

/** What the source of objects has done so far. */
export interface SourceHealth {
  /** Kinds without a complete list yet; nothing is programmed before that. */
  readonly awaited: readonly Kind[];
  /** When the API server last said anything about each kind, in milliseconds since 1970, 0 = never; undefined of manifests. */
  readonly lastContactMs: Readonly<Partial<Record<Kind, number>>> | undefined;
}

/** What the health routes read; they ask at every request and keep nothing. */
export interface HealthState {
  families(): ReadonlyMap<IPFamily, FamilyHealth>;
  /** Whether load balancers should send traffic here: the node is neither being deleted nor about to be. */
  isNodeEligible(): boolean;
  /** Empty when every family has been programmed and its last sync didn't fail. */
  missing(): readonly MissingPart[];
  source(): SourceHealth;
}

/** The taint that the cluster autoscaler sets before it deletes a node. */
const TO_BE_DELETED_TAINT = 'ToBeDeletedByClusterAutoscaler';

/** undefined (not seen yet, or a source without Nodes) counts as eligible. */
export function isNodeEligible(node: Node | undefined): boolean {
  return node === undefined || !(node.isDeleting || node.taints.includes(TO_BE_DELETED_TAINT));
}

interface FamilyState {
  pendingSinceMs?: number | undefined;
  lastUpdatedMs?: number | undefined;
  failure?: string | undefined;
}

export interface SyncHealthOptions {
  /** All of them. */
  readonly families: readonly IPFamily[];
  /** The configured one, asked at each request. */
  readonly syncPeriodMs: () => number;
  readonly source: () => SourceHealth;
  /** What else the node isn't ready without. */
  readonly others?: () => readonly MissingPart[];
  readonly now: () => number;
}

/** Remembers what the sync loops report, for the health routes. */
export class SyncHealth implements HealthState {
  readonly #options: SyncHealthOptions;
  readonly #families: ReadonlyMap<IPFamily, FamilyState>;
  #node: Node | undefined;

  constructor(options: SyncHealthOptions) {
    this.#options = options;
    this.#families = new Map(options.families.map(family => [family, {}]));
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
    state.pendingSinceMs ??= this.#options.now();
  }

  /** The kernel has everything that was queued. */
  updated(family: IPFamily): void {
    const state = this.#state(family);
    state.lastUpdatedMs = this.#options.now();
    state.pendingSinceMs = undefined;
    state.failure = undefined;
  }

  /** A sync failed; what was queued still waits, and so does a look at the kernel that failed. */
  failed(family: IPFamily, reason: string): void {
    const state = this.#state(family);
    state.pendingSinceMs ??= this.#options.now();
    state.failure = reason;
  }

  /** This node's object; when it goes away the last one counts, as in kube-proxy. */
  sawNode(node: Node | undefined): void {
    this.#node = node ?? this.#node;
  }

  families(): ReadonlyMap<IPFamily, FamilyHealth> {
    const syncPeriodMs = this.#options.syncPeriodMs();
    return new Map([...this.#families].map(([family, state]) => [family, familyHealth(state, syncPeriodMs)]));
  }

  isNodeEligible(): boolean {
    return isNodeEligible(this.#node);
  }

  /** Whether the changes of every family reach the kernel: what /livez says, and every health check node port. */
  isProxyHealthy(): boolean {
    const nowMs = this.#options.now();
    return [...this.families().values()].every(family => isFamilyHealthy(family, nowMs));
  }

  source(): SourceHealth {
    return this.#options.source();
  }

  missing(): readonly MissingPart[] {
    const { awaited, lastContactMs } = this.source();
    const isSilent = lastContactMs !== undefined && Object.values(lastContactMs).every(ms => ms === 0);
    const silence = isSilent ? ': the API server has said nothing yet' : '';
    const lists =
      awaited.length === 0
        ? []
        : [{ part: 'cluster', reason: `no complete list of ${awaited.join(', ')} yet${silence}` }];
    const families = [...this.#families].flatMap(([part, { failure, lastUpdatedMs }]) => {
      if (failure !== undefined) return [{ part, reason: `last sync failed: ${failure}` }];
      return lastUpdatedMs === undefined ? [{ part, reason: 'not programmed yet' }] : [];
    });
    return [...lists, ...families, ...(this.#options.others?.() ?? [])];
  }

  #state(family: IPFamily): FamilyState {
    const state = this.#families.get(family);
    if (state === undefined) throw new TypeError(`${family} isn't one of the families of this node`);
    return state;
  }
}

function familyHealth({ pendingSinceMs, lastUpdatedMs }: FamilyState, syncPeriodMs: number): FamilyHealth {
  return {
    syncPeriodMs,
    ...(pendingSinceMs === undefined ? {} : { pendingSinceMs }),
    ...(lastUpdatedMs === undefined ? {} : { lastUpdatedMs }),
  };
}
