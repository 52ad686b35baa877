import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

import type { Backend } from './backends/backend.ts';
import { Coalescing } from './backends/coalescing.ts';
import type { FamilyBackend } from './backends/family-backend.ts';
import { SyncLoop } from './backends/loop.ts';
import type { KernelFacts, NodeOptions } from './backends/node-options.ts';

import { readKernel } from './backends/read-kernel.ts';
import type { SyncReport } from './backends/sync-report.ts';
import type { Configuration } from './config/configuration.ts';
import type { Observation } from './dump/from-model.ts';
import type { Loss } from './endpoints/claims.ts';
import type { Model, OwnServer } from './endpoints/types.ts';
import { type Basis, basisChanges } from './family-basis.ts';
import type { PacketCounts, RuleCounts } from './metric-readings.ts';
import { ModelFeed } from './model-feed.ts';
import { observedBackend } from './observed-backend.ts';
import { QuietCompaction } from './quiet-compaction.ts';
import type { ServiceCount } from './service-metrics.ts';
import type { SyncFollower } from './sync-follower.ts';
import { SyncReporter, type SyncReporterOptions } from './sync-reporter.ts';
import type { IPFamily } from './watch/objects.ts';
import type { Dirty } from './watch/snapshot.ts';
import type { Store } from './watch/store.ts';

export interface FamilyProxyOptions<O = unknown> extends SyncReporterOptions {
  readonly backend: FamilyBackend<O>;
  /** The first; see `configure`. */
  readonly configuration: Configuration;
  readonly nodeName: string;
  readonly store: Store;
  /** Asked whenever the node or the configuration changes. */
  readonly kernelFacts?: () => KernelFacts;
  /** Gives unused memory back; called in a quiet moment after a full sync. */
  readonly compactHeap: () => void;
  /** Told of each sync. */
  readonly followers?: readonly SyncFollower[];
  /** Called when all that a start has to program is programmed, after the backend's own: takes away what other modes left. */
  readonly tidy?: NonNullable<Backend<O>['tidy']>;
  /** See NodeFacts; `followNode` says when it changes. */
  readonly ownServer?: () => OwnServer | undefined;
  /** See ModelFeedOptions. */
  readonly onLoss?: (loss: Loss) => void;
}

/** How often the kernel is read for a dump while syncs keep changing it, and the wait between. */
const OBSERVE_ATTEMPTS = 3;
const OBSERVE_WAIT_MS = 100;

/** One IP family: its Model, its backend, its loop, and the memory that their work takes. */
export class FamilyProxy<O = unknown> {
  readonly #options: FamilyProxyOptions<O>;
  readonly #reporter: SyncReporter;
  readonly #feed: ModelFeed;
  readonly #loop: SyncLoop<O>;
  readonly backend: FamilyBackend<O>;
  #configuration: Configuration;
  #basis: Basis<NodeOptions>;
  /** What the newest plan was made with. */
  #planned: NodeOptions;
  #isStarted = false;
  #isFollowing = false;
  readonly #compaction: QuietCompaction;
  readonly #coalescing: Coalescing;
  #isSyncing = false;
  /** Syncs that began to change the kernel. */
  #syncs = 0;

  constructor(options: FamilyProxyOptions<O>) {
    const { family, backend, configuration, nodeName, store, log } = options;
    this.#options = options;
    this.backend = backend;
    this.#compaction = new QuietCompaction(options.compactHeap, backend.releaseMemory);
    this.#coalescing = new Coalescing(backend.startsAtOnce === true, () => performance.now());
    this.#configuration = configuration;
    this.#reporter = new SyncReporter(options);
    this.#feed = new ModelFeed({
      store,
      family,
      nodeName,
      allowedExternalIPs: () => this.#configuration.allowedExternalIPs,
      ownServer: () => options.ownServer?.(),
      onContest: line => log.warn({ component: 'endpoints', family }, line),
      onLoss: loss => options.onLoss?.(loss),
    });
    this.#basis = this.#newestBasis();
    this.#planned = this.#basis.options;
    backend.syncs.begin(this.#planned);
    this.#loop = new SyncLoop({
      backend: observedBackend(backend, { followers: this.#followers, tidy: options.tidy }),
      pull: () => this.#pull(),
      coalesceMs: () => this.#coalescing.waitMs,
      timing: () => {
        const { minSyncPeriodMs, syncPeriodMs } = this.#configuration[backend.mode];
        return { minSyncPeriodMs, maxRetryMs: syncPeriodMs, driftCheckMs: syncPeriodMs };
      },
      now: () => performance.now(),
      onDrift: () => this.#reporter.queued(),
      onSync: report => this.#finishSync(report),
      onError: (error, retryMs) => {
        this.#isSyncing = false;
        this.#reporter.failed(error, retryMs);
      },
    });
  }

  get #followers(): readonly SyncFollower[] {
    return this.#options.followers ?? [];
  }

  get family(): IPFamily {
    return this.#options.family;
  }

  /** What was last planned. */
  get model(): Model {
    return this.#feed.model;
  }

  /** The store is complete: program it, and from now on whatever changes. Also ends a pause. */
  start(): void {
    this.#basis = this.#newestBasis();
    this.#warnOfNoDetector();
    this.#isStarted = true;
    this.#reporter.queued();
    this.#loop.resume();
    this.#loop.markAllDirty();
  }

  /** Finishes the sync under way, then writes nothing until `start`; changes are noted all the while. */
  async pause(): Promise<void> {
    this.#isStarted = false;
    await this.#loop.pause();
    this.#isSyncing = false;
    await this.#tellPaused();
  }

  /** Takes another configuration into use: what rules depend on is planned again, and the new periods count from now on. */
  configure(configuration: Configuration): void {
    const { mode } = this.backend;
    const { syncPeriodMs, minSyncPeriodMs } = this.#configuration[mode];
    const next = configuration[mode];
    this.#configuration = configuration;
    this.#followBasis();
    const isOtherTiming = next.syncPeriodMs !== syncPeriodMs || next.minSyncPeriodMs !== minSyncPeriodMs;
    if (!this.#isStarted || !isOtherTiming) return;
    this.#reporter.queued();
    this.#loop.markDirty();
  }

  /** Something else that rules depend on changed on this node. */
  followNode(): void {
    this.#followBasis();
  }

  /** Something changed in the store. Before `start` it is only noted. */
  note(dirty: Dirty): void {
    this.#feed.note(dirty);
    const isOurNode = dirty.nodes.has(this.#options.nodeName);
    if (isOurNode || dirty.hasServiceCIDRs) this.#followBasis();
    if (!this.#isStarted || dirty.services.size === 0) return;
    this.#reporter.queued();
    if (dirty.hasRemovals) this.#loop.markUrgent();
    else this.#loop.markDirty();
  }

  /** Rejects when a sync that begins now couldn't tell what the kernel has. */
  async checkReadable(): Promise<void> {
    await readKernel(this.backend, { planned: undefined, refused: [], signal: new AbortController().signal });
    this.#compaction.noteFull();
  }

  /** What was planned and what the kernel has, both of one moment if syncs leave one. Rejects when the kernel can't be read. */
  async observe(): Promise<Observation<O>> {
    for (let attempt = 1; ; attempt += 1) {
      const wasSyncing = this.#isSyncing;
      const syncs = this.#syncs;
      const kernel = await this.backend.read();
      const isQueued = this.#loop.queuedAtMs !== undefined;
      const isMoving = isQueued || wasSyncing || this.#isSyncing || this.#syncs !== syncs;
      if (!isMoving || attempt === OBSERVE_ATTEMPTS) {
        this.#compaction.noteFull();
        return { model: this.#syncs === 0 ? undefined : this.model, backend: this.backend, kernel, isMoving };
      }
      await delay(OBSERVE_WAIT_MS);
    }
  }

  /** See RuleReadings. */
  ruleCounts(): { readonly total: RuleCounts; readonly last: RuleCounts } | undefined {
    const { applied } = this.#loop;
    return applied === undefined ? undefined : this.backend.counts?.rules?.(applied);
  }

  /** See ElementReadings. */
  elementCounts(): ReadonlyMap<string, number> | undefined {
    const { applied } = this.#loop;
    return applied === undefined ? undefined : this.backend.counts?.elements?.(applied);
  }

  /** See RuleReadings. */
  async packetCounts(): Promise<PacketCounts | undefined> {
    const { packets } = this.backend.counts ?? {};
    return packets === undefined ? {} : packets(this.model);
  }

  /** See ServiceReadings. */
  async serviceCounts(): Promise<readonly ServiceCount[] | undefined> {
    const { services } = this.backend.counts ?? {};
    if (services === undefined || !this.#configuration.hasServiceMetrics || this.#loop.applied === undefined) return [];
    return services();
  }

  async close(): Promise<void> {
    this.#compaction[Symbol.dispose]();
    await this.#loop.close();
    await this.backend.close({ cleanup: false });
    await this.#tellPaused();
  }

  async #tellPaused(): Promise<void> {
    await Promise.all(this.#followers.map(async follower => follower.paused()));
  }

  #newestBasis(): Basis<NodeOptions> {
    const { node, nodeFacts } = this.#feed;
    const { store, kernelFacts } = this.#options;
    const { serviceCIDRs } = store.snapshot;
    const options = this.backend.options.of(this.#configuration, { node, serviceCIDRs, kernel: kernelFacts?.() });
    return { options, facts: nodeFacts };
  }

  /** Plans everything again when what all rules depend on changed with the Node object or the configuration. Most changes of a Node don't. */
  #followBasis(): void {
    if (!this.#isStarted) return;
    const before = this.#basis;
    const next = this.#newestBasis();
    if (isDeepStrictEqual(next, before)) return;
    this.#basis = next;
    const { log, family } = this.#options;
    for (const change of basisChanges(before, next, this.backend.options))
      log.info({ component: 'backend', family }, change);
    this.#warnOfNoDetector();
    this.#reporter.queued();
    // A Model knows what a change of the node's facts touches; options touch everything.
    if (isDeepStrictEqual(next.options, before.options)) this.#loop.markDirty();
    else this.#loop.markAllDirty();
  }

  #warnOfNoDetector(): void {
    if (this.#basis.options.localDetector.kind !== 'none') return;
    this.#options.log.warn(
      { component: 'config', family: this.family },
      'pods are not recognised (no clusterCIDR or podCIDR): see detectLocalMode',
    );
  }

  #pull(): Model {
    this.#isSyncing = true;
    this.#syncs += 1;
    this.#planned = this.#basis.options;
    this.backend.syncs.begin(this.#planned);
    const previous = this.#feed.model;
    const model = this.#feed.pull();
    this.#reporter.planned(model);
    for (const follower of this.#followers) follower.pulled(model, previous);
    return model;
  }

  #finishSync(report: SyncReport): void {
    this.#isSyncing = false;
    this.#coalescing.noteSync();
    const { model } = this;
    if (this.backend.syncs.finish?.(report, model) === true) this.#loop.markAllDirty();
    this.#reporter.synced(report, model);
    const { nodePortAddresses, hasLocalhostNodePorts = false } = this.#planned;
    const programmed = { model, nodePortAddresses, hasLocalhostNodePorts, report };
    for (const follower of this.#followers) follower.synced(programmed);
    if (!this.#isFollowing) void this.backend.follow?.(() => this.#loop.markSuspect());
    this.#isFollowing = true;
    // What arrived meanwhile waits for the next sync.
    if (this.#loop.queuedAtMs !== undefined) this.#reporter.queued();
    if (report.isFull) this.#compaction.noteFull();
    else this.#compaction.noteSync();
  }
}
