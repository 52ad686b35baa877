import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Plan } from './backends/backend.ts';
import type { IptablesIO } from './backends/iptables/apply.ts';
import { createIptablesBackend, type IptablesBackend } from './backends/iptables/backend.ts';
import type { NftGeneration } from './backends/iptables/generation.ts';
import { MarkTransition } from './backends/iptables/mark-transition.ts';
import type { IptablesObject } from './backends/iptables/objects.ts';
import { iptablesOptions } from './backends/iptables/options.ts';
import { readPacketCounts } from './backends/iptables/packet-counts.ts';
import { RuleCounter, type RuleCounts } from './backends/iptables/rule-counts.ts';
import type { IptablesOptions } from './backends/iptables/rules.ts';
import { readServiceCounts } from './backends/iptables/service-counts.ts';
import { toolsOf, type Variant } from './backends/iptables/tools.ts';
import { SyncLoop } from './backends/loop.ts';
import type { KernelFacts } from './backends/node-options.ts';
import { readKernel } from './backends/read-kernel.ts';
import type { SyncReport } from './backends/sync-report.ts';
import type { Configuration } from './config/configuration.ts';
import type { Observation } from './dump/from-model.ts';
import type { Loss } from './endpoints/claims.ts';
import type { Model } from './endpoints/types.ts';
import { type Basis, basisChanges } from './family-basis.ts';
import { Shell } from './linux/shell.ts';
import type { PacketCounts } from './metric-readings.ts';
import { ModelFeed } from './model-feed.ts';
import { QuietCompaction } from './quiet-compaction.ts';
import type { ServiceCount } from './service-metrics.ts';
import type { SyncFollower } from './sync-follower.ts';
import { SyncReporter, type SyncReporterOptions } from './sync-reporter.ts';
import type { IPFamily } from './watch/objects.ts';
import type { Dirty } from './watch/snapshot.ts';
import type { Store } from './watch/store.ts';

export interface FamilyProxyOptions extends SyncReporterOptions {
  /** The first; see `configure`. */
  readonly configuration: Configuration;
  readonly variant: Variant;
  /** Starts programs; see IptablesIO. */
  readonly run?: IptablesIO['run'];
  /** The process's count of commits to nf_tables; see IptablesIO. */
  readonly generation?: NftGeneration;
  readonly nodeName: string;
  readonly store: Store;
  /** Asked whenever the node or the configuration changes. */
  readonly kernelFacts?: () => KernelFacts;
  /** Gives unused memory back; called in a quiet moment after a full sync. */
  readonly compactHeap: () => void;
  /** Told of each sync. */
  readonly followers?: readonly SyncFollower[];
  /** See ModelFeedOptions. */
  readonly onLoss?: (loss: Loss) => void;
}

/** Events of one burst arrive within this time; longer would be latency, shorter more commits. */
const COALESCE_MS = 3;

/** How often the kernel is read for a dump while syncs keep changing it, and the wait between. */
const OBSERVE_ATTEMPTS = 3;
const OBSERVE_WAIT_MS = 100;

/** One IP family: its Model, its backend, its loop, and the memory that their work takes. */
export class FamilyProxy {
  readonly #options: FamilyProxyOptions;
  readonly #reporter: SyncReporter;
  readonly #feed: ModelFeed;
  readonly #loop: SyncLoop<IptablesObject>;
  readonly backend: IptablesBackend;
  #configuration: Configuration;
  #basis: Basis;
  /** What the newest plan was made with. */
  #planned: IptablesOptions;
  readonly #mark = new MarkTransition();
  #isStarted = false;
  readonly #compaction: QuietCompaction;
  readonly #rules = new RuleCounter();
  readonly #shell = new Shell();
  #isSyncing = false;
  /** Syncs that began to change the kernel. */
  #syncs = 0;

  constructor(options: FamilyProxyOptions) {
    const { family, configuration, nodeName, store, log } = options;
    this.#options = options;
    this.#compaction = new QuietCompaction(options.compactHeap);
    this.#configuration = configuration;
    this.backend = createIptablesBackend(() => this.#planned, ioOf(options, this.#shell));
    this.#reporter = new SyncReporter(options);
    this.#feed = new ModelFeed({
      store,
      family,
      nodeName,
      allowedExternalIPs: () => this.#configuration.allowedExternalIPs,
      onContest: line => log.warn({ component: 'endpoints', family }, line),
      onLoss: loss => options.onLoss?.(loss),
    });
    this.#basis = this.#newestBasis();
    this.#planned = this.#basis.iptables;
    const backend = this.#rules.observe(this.backend);
    const noteFound = (plan: Plan<IptablesObject>) => {
      this.#mark.found(plan);
      for (const follower of this.#followers) follower.found?.(plan);
      return plan;
    };
    this.#loop = new SyncLoop({
      backend: {
        ...backend,
        read: async call => noteFound(await backend.read(call)),
        readByParts: async call => noteFound(await backend.readByParts(call)),
      },
      pull: () => this.#pull(),
      coalesceMs: COALESCE_MS,
      timing: () => {
        const { minSyncPeriodMs, syncPeriodMs } = this.#configuration.iptables;
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
    const { syncPeriodMs, minSyncPeriodMs } = this.#configuration.iptables;
    const { iptables } = configuration;
    this.#configuration = configuration;
    this.#followBasis();
    const isOtherTiming = iptables.syncPeriodMs !== syncPeriodMs || iptables.minSyncPeriodMs !== minSyncPeriodMs;
    if (!this.#isStarted || !isOtherTiming) return;
    this.#reporter.queued();
    this.#loop.markDirty();
  }

  /** Something changed in the store. Before `start` it is only noted. */
  note(dirty: Dirty): void {
    this.#feed.note(dirty);
    const isOurNode = dirty.nodes.has(this.#options.nodeName);
    if (isOurNode) this.#followBasis();
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
  async observe(): Promise<Observation> {
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
    return applied === undefined ? undefined : { total: this.#rules.total(applied), last: this.#rules.written };
  }

  /** See RuleReadings. */
  packetCounts(): Promise<PacketCounts | undefined> {
    return readPacketCounts(this.backend.planShared(this.model).values(), ioOf(this.#options, this.#shell));
  }

  /** See ServiceReadings. */
  async serviceCounts(): Promise<readonly ServiceCount[] | undefined> {
    if (!this.#configuration.hasServiceMetrics || this.#loop.applied === undefined) return [];
    return readServiceCounts(ioOf(this.#options, this.#shell));
  }

  async close(): Promise<void> {
    this.#compaction[Symbol.dispose]();
    await this.#loop.close();
    this.#shell[Symbol.dispose]();
    await this.#tellPaused();
  }

  async #tellPaused(): Promise<void> {
    await Promise.all(this.#followers.map(async follower => follower.paused()));
  }

  #newestBasis(): Basis {
    const { node, nodeFacts } = this.#feed;
    return {
      iptables: iptablesOptions(this.#configuration, node, this.family, this.#options.kernelFacts?.()),
      facts: nodeFacts,
    };
  }

  /** Plans everything again when what all rules depend on changed with the Node object or the configuration. Most changes of a Node don't. */
  #followBasis(): void {
    if (!this.#isStarted) return;
    const before = this.#basis;
    const next = this.#newestBasis();
    if (isDeepStrictEqual(next, before)) return;
    this.#basis = next;
    const { log, family } = this.#options;
    for (const change of basisChanges(before, next)) log.info({ component: 'backend', family }, change);
    this.#warnOfNoDetector();
    this.#reporter.queued();
    // A Model knows what a change of the node's facts touches; options touch everything.
    if (isDeepStrictEqual(next.iptables, before.iptables)) this.#loop.markDirty();
    else this.#loop.markAllDirty();
  }

  #warnOfNoDetector(): void {
    if (this.#basis.iptables.localDetector.kind !== 'none') return;
    this.#options.log.warn(
      { component: 'config', family: this.family },
      'pods are not recognised (no clusterCIDR or podCIDR): see detectLocalMode',
    );
  }

  #pull(): Model {
    this.#isSyncing = true;
    this.#syncs += 1;
    this.#rules.begin();
    this.#planned = this.#mark.bridging(this.#basis.iptables);
    const previous = this.#feed.model;
    const model = this.#feed.pull();
    this.#reporter.planned(model);
    for (const follower of this.#followers) follower.pulled(model, previous);
    return model;
  }

  #finishSync(report: SyncReport): void {
    this.#isSyncing = false;
    const { model } = this;
    if (this.#mark.synced(report, this.#planned, this.backend.planShared(model))) this.#loop.markAllDirty();
    this.#reporter.synced(report, model);
    const { nodePortAddresses, hasLocalhostNodePorts } = this.#planned;
    const programmed = { model, nodePortAddresses, hasLocalhostNodePorts, report };
    for (const follower of this.#followers) follower.synced(programmed);
    // What arrived meanwhile waits for the next sync.
    if (this.#loop.queuedAtMs !== undefined) this.#reporter.queued();
    if (report.isFull) this.#compaction.noteFull();
    else this.#compaction.noteSync();
  }
}

function ioOf({ family, variant, run, generation, log }: FamilyProxyOptions, shell: Shell): IptablesIO {
  return {
    tools: toolsOf(variant, family),
    log: log.child({ component: 'backend', family }),
    // Who starts programs in a way of his own starts all of them.
    ...(run === undefined ? { shell } : { run }),
    ...(generation === undefined ? {} : { generation }),
  };
}
