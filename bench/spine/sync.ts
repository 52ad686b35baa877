import type { Backend } from '../../src/backends/backend.ts';
import { createIptablesBackend } from '../../src/backends/iptables/backend.ts';
import { NftGeneration } from '../../src/backends/iptables/generation.ts';
import type { IptablesObject } from '../../src/backends/iptables/objects.ts';
import { toolsOf, type Variant } from '../../src/backends/iptables/tools.ts';
import { SyncLoop } from '../../src/backends/loop.ts';
import type { SyncReport } from '../../src/backends/sync-report.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { readGeneration } from '../../src/linux/nfnetlink.ts';
import type { Snapshot } from '../../src/watch/snapshot.ts';
import { IPTABLES_OPTIONS } from '../../test/fakes/objects.ts';
import { NODE } from './cluster.ts';

/** As the daemon makes it. */
export function backendOf(variant: Variant): Backend<IptablesObject> {
  const generation = new NftGeneration({
    read: readGeneration,
    onUnavailable: error => process.stderr.write(`${String(error)}\n`),
  });
  return createIptablesBackend(() => IPTABLES_OPTIONS, { tools: toolsOf(variant, 'IPv4'), generation });
}

export const backend = backendOf('nft');

/** The product's loop over a cluster that the caller sets; `sync` resolves when the kernel has it, to what it took in ms. */
export function startLoop(through: Backend<IptablesObject> = backend) {
  let model = emptyModel('IPv4', NODE);
  let cluster: Snapshot | undefined;
  let dirty: Iterable<string> = [];
  const waiting: PromiseWithResolvers<SyncReport>[] = [];
  const loop = new SyncLoop({
    backend: through,
    pull: () => {
      if (cluster !== undefined) model = updateModel(model, cluster, dirty, NODE);
      return model;
    },
    coalesceMs: () => 0,
    timing: () => ({ minSyncPeriodMs: 0, maxRetryMs: 1000, driftCheckMs: 60_000 }),
    now: () => performance.now(),
    onSync: report => waiting.shift()?.resolve(report),
    onError: error => waiting.shift()?.reject(error),
  });
  const sync = async (next: Snapshot, keys: Iterable<string>) => {
    cluster = next;
    dirty = keys;
    const done = Promise.withResolvers<SyncReport>();
    waiting.push(done);
    const startedAt = performance.now();
    loop.markDirty();
    const report = await done.promise;
    if (report.failures.length > 0) throw new AggregateError(report.failures.map(({ error }) => error));
    return { ...report, ms: performance.now() - startedAt };
  };
  return { loop, sync };
}
