/** What follows the store, beside the families: health, metrics and the log. */
import type { FamilyProxy } from './family-proxy.ts';
import type { SourceHealth, SyncHealth } from './http/health-state.ts';
import type { Logger } from './log.ts';
import { addElementMetrics, addModelMetrics, addPendingMetrics, addRuleMetrics } from './metric-readings.ts';
import type { Metrics } from './metrics.ts';
import type { PendingChanges } from './pending-changes.ts';
import { addServiceMetrics } from './service-metrics.ts';
import type { ClusterSource } from './source.ts';
import { changesBetween } from './watch/changes.ts';
import { problemLogger } from './watch/log.ts';
import type { Dirty } from './watch/snapshot.ts';
import { Store } from './watch/store.ts';

export interface FirstFollowers {
  readonly store: Store;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Metrics and log of what the store gets. To be called before a source writes into it. */
export function observeStore({ store, metrics, log }: FirstFollowers): void {
  store.onProblem(problemLogger(log.child({ component: 'watch' })));
  countStoreChanges(store, metrics);
}

export interface StoreFollowers {
  readonly store: Store;
  readonly proxies: readonly FamilyProxy[];
  /** One for each family. */
  readonly pending: readonly PendingChanges[];
  readonly health: SyncHealth;
  readonly metrics: Metrics;
  readonly nodeName: string;
}

/** Tells families and health what changes from now on; families begin with what the store holds when they are made. */
export function followStore({ store, proxies, pending, health, metrics, nodeName }: StoreFollowers): void {
  const seeNode = () => health.sawNode(store.snapshot.nodes.get(nodeName));
  seeNode();
  let before = new Store().snapshot;
  const notePending = (dirty: Pick<Dirty, 'services'>) => {
    const changes = changesBetween(before, store.snapshot, dirty);
    before = store.snapshot;
    for (const family of pending) family.noted(changes);
  };
  // What the store holds already waits too.
  const { services, slices } = store.snapshot;
  notePending({ services: new Set([...services.keys(), ...slices.keys()]) });
  store.onDirty(dirty => {
    seeNode();
    notePending(dirty);
    for (const proxy of proxies) proxy.note(dirty);
  });
  addModelMetrics(metrics.registry, () => proxies.map(proxy => proxy.model));
  addPendingMetrics(metrics.registry, pending);
  addRuleMetrics(metrics.registry, proxies);
  addElementMetrics(metrics.registry, proxies);
  addServiceMetrics(metrics.registry, proxies);
}

/** The first lists count too, as in kube-proxy. */
function countStoreChanges(store: Store, metrics: Metrics): void {
  let before = store.snapshot;
  store.onDirty(dirty => {
    const { services, slices } = changesBetween(before, store.snapshot, dirty);
    before = store.snapshot;
    metrics.serviceChanges.inc(services.length);
    metrics.endpointChanges.inc(slices.length);
  });
}

/** What /readyz says of the source. */
export function sourceHealth({ awaited }: Store, { stats }: ClusterSource): SourceHealth {
  const lastContactMs =
    stats === undefined
      ? undefined
      : Object.fromEntries(Object.entries(stats).map(([kind, { lastContactMs: ms }]) => [kind, ms]));
  return { awaited, lastContactMs };
}
