import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Backend } from './backends/backend.ts';
import { createIptablesBackend, IPTABLES_NFT } from './backends/iptables/backend.ts';
import type { IptablesObject } from './backends/iptables/objects.ts';
import { iptablesOptions } from './backends/iptables/options.ts';
import type { IptablesOptions } from './backends/iptables/plan.ts';
import { SyncLoop, type SyncReport } from './backends/loop.ts';
import type { Configuration } from './config/configuration.ts';
import type { Observation } from './dump/from-model.ts';
import type { Model } from './endpoints/types.ts';
import { ModelFeed } from './model-feed.ts';
import { SyncReporter, type SyncReporterOptions } from './sync-reporter.ts';
import type { IPFamily, Node } from './watch/objects.ts';
import type { Dirty } from './watch/snapshot.ts';
import type { Store } from './watch/store.ts';

export interface FamilyProxyOptions extends SyncReporterOptions {
  readonly configuration: Configuration;
  readonly nodeName: string;
  readonly store: Store;
  /** Gives unused memory back; called in a quiet moment after a full sync. */
  readonly compactHeap: () => void;
}

/** Events of one burst arrive within this time; longer would be latency, shorter more commits. */
const COALESCE_MS = 3;
/** Without a sync for so long, a pause of the collector disturbs nobody. */
const QUIET_MS = 1000;
/** So many syncs leave a few MB behind, and more where thousands of Services are in the snapshot. */
const SYNCS_TO_COMPACT = 20;

/** How often the kernel is read for a dump while syncs keep changing it, and the wait between. */
const OBSERVE_ATTEMPTS = 3;
const OBSERVE_WAIT_MS = 100;

/** One IP family: its Model, its backend, its loop, and the memory that their work takes. */
export class FamilyProxy {
  readonly #options: FamilyProxyOptions;
  readonly #reporter: SyncReporter;
  readonly #feed: ModelFeed;
  readonly #loop: SyncLoop<IptablesObject>;
  readonly backend: Backend<IptablesObject>;
  #iptables: IptablesOptions;
  #isStarted = false;
  #compaction: NodeJS.Timeout | undefined;
  #syncsSinceCompaction = 0;
  #isSyncing = false;
  /** Syncs that began to change the kernel. */
  #syncs = 0;

  constructor(options: FamilyProxyOptions) {
    const { family, configuration, nodeName, store, log } = options;
    this.#options = options;
    this.#reporter = new SyncReporter(options);
    this.#iptables = iptablesOptions(configuration, this.#node, family);
    this.backend = createIptablesBackend(() => this.#iptables, { tools: IPTABLES_NFT });
    this.#feed = new ModelFeed({
      store,
      family,
      nodeName,
      onContest: line => log.warn({ component: 'endpoints', family }, line),
    });
    this.#loop = new SyncLoop({
      backend: this.backend,
      pull: () => this.#pull(),
      coalesceMs: COALESCE_MS,
      minSyncPeriodMs: configuration.iptables.minSyncPeriodMs,
      maxRetryMs: configuration.iptables.syncPeriodMs,
      now: () => performance.now(),
      onSync: report => this.#finishSync(report),
      onError: (error, retryMs) => {
        this.#isSyncing = false;
        this.#reporter.failed(error, retryMs);
      },
    });
  }

  get family(): IPFamily {
    return this.#options.family;
  }

  /** What was last planned. */
  get model(): Model {
    return this.#feed.model;
  }

  /** The store is complete: program it, and from now on whatever changes. */
  start(): void {
    this.#isStarted = true;
    this.#followNode();
    if (this.#iptables.localDetector.kind === 'none') {
      const { log, family } = this.#options;
      log.warn(
        { component: 'config', family },
        'pods are not recognised (no clusterCIDR or podCIDR): see detectLocalMode',
      );
    }
    this.#reporter.queued();
    this.#loop.markDirty();
  }

  /** Something changed in the store. Before `start` it is only noted. */
  note(dirty: Dirty): void {
    this.#feed.note(dirty);
    if (!this.#isStarted) return;
    const isOurNode = dirty.nodes.has(this.#options.nodeName);
    if (isOurNode) this.#followNode();
    if (dirty.services.size === 0 && !isOurNode) return;
    this.#reporter.queued();
    this.#loop.markDirty();
  }

  /** What was planned and what the kernel has, both of one moment if syncs leave one. Rejects when the kernel can't be read. */
  async observe(): Promise<Observation> {
    for (let attempt = 1; ; attempt += 1) {
      const wasSyncing = this.#isSyncing;
      const syncs = this.#syncs;
      const kernel = await this.backend.read();
      const isQueued = this.#loop.queuedAtMs !== undefined;
      const isMoving = isQueued || wasSyncing || this.#isSyncing || this.#syncs !== syncs;
      if (!isMoving || attempt === OBSERVE_ATTEMPTS) {
        // The kernel's rules as text are as much as a full sync leaves behind.
        this.#syncsSinceCompaction += SYNCS_TO_COMPACT;
        this.#compactWhenQuiet();
        return { model: this.#syncs === 0 ? undefined : this.model, backend: this.backend, kernel, isMoving };
      }
      await delay(OBSERVE_WAIT_MS);
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#compaction);
    await this.#loop.close();
  }

  get #node(): Node | undefined {
    return this.#options.store.snapshot.nodes.get(this.#options.nodeName);
  }

  /** Plans everything again when what the rules depend on changed with the Node object. */
  #followNode(): void {
    const { configuration, family } = this.#options;
    const next = iptablesOptions(configuration, this.#node, family);
    if (isDeepStrictEqual(next, this.#iptables)) return;
    this.#iptables = next;
    this.#loop.markAllDirty();
  }

  /** Once a second has passed without a sync, if there was enough garbage to make it worth the pause. */
  #compactWhenQuiet(): void {
    clearTimeout(this.#compaction);
    if (this.#syncsSinceCompaction < SYNCS_TO_COMPACT) return;
    this.#compaction = setTimeout(() => {
      this.#syncsSinceCompaction = 0;
      this.#options.compactHeap();
    }, QUIET_MS);
  }

  #pull(): Model {
    this.#isSyncing = true;
    this.#syncs += 1;
    const model = this.#feed.pull();
    this.#reporter.planned(model);
    return model;
  }

  #finishSync(report: SyncReport): void {
    this.#isSyncing = false;
    this.#reporter.synced(report, this.model);
    // What arrived meanwhile waits for the next sync.
    if (this.#loop.queuedAtMs !== undefined) this.#reporter.queued();
    this.#syncsSinceCompaction += report.isFull ? SYNCS_TO_COMPACT : 1;
    this.#compactWhenQuiet();
  }
}
