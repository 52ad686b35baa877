import type { Backend } from '../../src/backends/backend.ts';
import { SyncLoop } from '../../src/backends/loop.ts';
import { createNftablesBackend } from '../../src/backends/nftables/backend.ts';
import { ForeignChanges } from '../../src/backends/nftables/foreign-changes.ts';
import type { NftObject } from '../../src/backends/nftables/objects.ts';
import type { NftablesOptions } from '../../src/backends/nftables/options.ts';
import type { SyncReport } from '../../src/backends/sync-report.ts';
import type { Model } from '../../src/endpoints/types.ts';
import { NftSocket } from '../../src/linux/nf-tables.ts';
import { createLogger } from '../../src/log.ts';

const OPTIONS: NftablesOptions = {
  family: 'IPv4',
  masqueradeAll: false,
  localDetector: { kind: 'source', cidr: '10.244.0.0/16' },
  nodePortAddresses: 'all',
  dropsInvalid: false,
  serviceCIDRs: [],
};

/** Over this network namespace's kernel. */
export function newBackend(): Backend<NftObject> {
  const foreign = new ForeignChanges(createLogger({ level: 'warn' }));
  return createNftablesBackend(() => OPTIONS, { family: 'IPv4', kernel: new NftSocket(), foreign });
}

/** The loop's first sync: the kernel is read, everything planned and committed. */
export async function loadOnce(
  backend: Backend<NftObject>,
  model: Model,
): Promise<{ readonly ms: number; readonly report: SyncReport }> {
  const done = Promise.withResolvers<SyncReport>();
  await using loop = new SyncLoop({
    backend,
    pull: () => model,
    coalesceMs: () => 0,
    timing: () => ({ minSyncPeriodMs: 0, maxRetryMs: 1000, driftCheckMs: 60_000 }),
    now: () => performance.now(),
    onSync: done.resolve,
    onError: done.reject,
  });
  const startedAt = performance.now();
  loop.markDirty();
  const report = await done.promise;
  const ms = performance.now() - startedAt;
  if (report.failures.length > 0) throw new AggregateError(report.failures.map(({ error }) => error));
  return { ms, report };
}
