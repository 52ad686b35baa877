/** The product's FamilyProxy over a Store that the bench writes as a watch would: everything between an event and its commit. */
import { createNftablesFamily } from '../../src/backends/nftables/family.ts';
import { ForeignChanges } from '../../src/backends/nftables/foreign-changes.ts';
import { defaultConfiguration } from '../../src/config/load.ts';
import { FamilyProxy } from '../../src/family-proxy.ts';
import { compactHeap } from '../../src/heap.ts';
import { SyncHealth } from '../../src/http/health-state.ts';
import type { NftKernel } from '../../src/linux/nf-tables.ts';
import { createLogger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import type { SyncFollower } from '../../src/sync-follower.ts';
import { Store } from '../../src/watch/store.ts';
import { clusterOf, NODE, sliceWith } from '../spine/cluster.ts';

export interface BenchFamily extends AsyncDisposable {
  /** A slice of Service i with these endpoints arrives; resolves to the ms until the sync that carries it is committed. */
  change(i: number, addresses: readonly string[]): Promise<number>;
  /** Syncs so far. */
  readonly syncs: number;
}

export interface BenchKernel {
  readonly kernel: NftKernel;
  /** As the daemon does: the kernel tells of each change. */
  readonly listens?: boolean;
}

/** So many Services of ten endpoints, programmed. */
export async function startFamily(services: number, { kernel, listens = false }: BenchKernel): Promise<BenchFamily> {
  const log = createLogger({ level: 'error' });
  const store = new Store();
  const commits = new Commits();
  const foreign = new ForeignChanges(log);
  const { configuration } = defaultConfiguration();
  const proxy = new FamilyProxy({
    family: 'IPv4',
    backend: createNftablesFamily({ family: 'IPv4', kernel, ...(listens && { foreign }) }),
    configuration: { ...configuration, detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] } },
    nodeName: NODE.name,
    store,
    health: new SyncHealth({
      families: ['IPv4'],
      syncPeriodMs: () => 30_000,
      source: () => ({ awaited: [], lastContactMs: undefined }),
      now: Date.now,
    }),
    metrics: createMetrics('0.0.0'),
    log,
    compactHeap,
    followers: [commits],
  });
  store.onDirty(dirty => proxy.note(dirty));
  const { services: objects, slices } = clusterOf(services);
  for (const object of objects.values()) store.upsert('Service', object);
  for (const owned of slices.values()) for (const slice of owned.values()) store.upsert('EndpointSlice', slice);
  const programmed = commits.next();
  proxy.start();
  await programmed;
  return {
    change: (i, addresses) => {
      const committed = commits.next();
      store.upsert('EndpointSlice', sliceWith(i, addresses));
      return committed;
    },
    get syncs() {
      return commits.syncs;
    },
    [Symbol.asyncDispose]: async () => {
      await proxy.close();
    },
  };
}

/** When what was in the store at a moment is in the kernel. */
class Commits implements SyncFollower {
  syncs = 0;
  #waiting: ((atMs: number) => void)[] = [];
  #underWay: ((atMs: number) => void)[] = [];

  /** Resolves to the ms until the end of the first sync that begins after now. */
  next(): Promise<number> {
    const startedAt = performance.now();
    return new Promise(resolve => this.#waiting.push(atMs => resolve(atMs - startedAt)));
  }

  pulled(): void {
    this.#underWay.push(...this.#waiting.splice(0));
  }

  synced(): void {
    this.syncs += 1;
    const now = performance.now();
    for (const resolve of this.#underWay.splice(0)) resolve(now);
  }

  paused(): void {
    this.#underWay = [];
  }
}
