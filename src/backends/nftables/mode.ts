import type { Configuration } from '../../config/configuration.ts';
import { localnetSysctl } from '../../conntrack/settings.ts';
import { kernelFamily } from '../../dump/from-kernel.ts';
import type { DumpFamily } from '../../dump/state.ts';
import { NftSocket } from '../../linux/nf-tables.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { KernelCallOptions } from '../backend.ts';
import { type MissingFamily, type Mode, ModeUnavailableError, NoUsableFamilyError, type SettledMode } from '../mode.ts';
import { nftablesDump } from './dump-format.ts';
import { createNftablesFamily } from './family.ts';
import { ForeignChanges } from './foreign-changes.ts';
import { NFTABLES_KUBE_PROXY } from './kube-proxy.ts';
import { TABLE } from './names.ts';
import { readPlan } from './read.ts';
import { removeTable, retireTable } from './removal.ts';
import { missingFeature } from './support.ts';

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

export const NFTABLES: Mode = {
  name: 'nftables',
  obstacle,
  settle,
  // Nothing is routed to 127.0.0.0/8 for this mode.
  prepareNode: async () => localnetSysctl(false),
  readFamilies,
  removeEverywhere,
  removeLeftovers,
  kubeProxy: NFTABLES_KUBE_PROXY,
};

async function obstacle(): Promise<string | undefined> {
  const { families, missing } = await usableFamilies();
  return families.length > 0 ? undefined : missing.map(({ family, reason }) => `${family}: ${reason}`).join('; ');
}

/** Settles the IP families. */
async function settle({ hasServiceMetrics }: Configuration, log: Logger): Promise<SettledMode> {
  const configLog = log.child({ component: 'config' });
  const { families, missing } = await usableFamilies();
  if (families.length === 0) throw new NoUsableFamilyError('nftables', missing);
  configLog.info({ families }, `nftables for ${families.join(' and ')}`);
  for (const { family, reason } of missing) configLog.warn({ family }, `${family} is left out: ${reason}`);
  if (hasServiceMetrics)
    configLog.warn('mode nftables has no counters for each Service: metrics.perService has no effect');
  const foreign = new ForeignChanges(log);
  return { families, newBackend: family => createNftablesFamily({ family, kernel: new NftSocket(), foreign }) };
}

async function usableFamilies(): Promise<{ families: IPFamily[]; missing: MissingFamily[] }> {
  const families: IPFamily[] = [];
  const missing: MissingFamily[] = [];
  using kernel = new NftSocket();
  for (const family of FAMILIES) {
    const reason = await missingFeature(kernel, family);
    if (reason === undefined) families.push(family);
    else missing.push({ family, reason });
  }
  return { families, missing };
}

/** IPv6 where somebody programmed it: a node may lack it altogether. */
async function readFamilies(): Promise<DumpFamily[]> {
  using kernel = new NftSocket();
  try {
    const found: DumpFamily[] = [];
    for (const family of FAMILIES) {
      const plan = await readPlan(kernel, family);
      if (family === 'IPv4' || plan.size > 0) found.push(kernelFamily(family, plan, nftablesDump(family)));
    }
    return found;
  } catch (error) {
    if (error instanceof NetlinkError) throw new ModeUnavailableError(`nf_tables: ${error.message}`, { cause: error });
    throw error;
  }
}

async function removeEverywhere(): Promise<number> {
  using kernel = new NftSocket();
  let count = 0;
  try {
    for (const family of FAMILIES) {
      // Only counted: what can't be read goes with the table.
      const { size } = await readPlan(kernel, family).catch(() => ({ size: 1 }));
      if (await removeTable({ kernel, family, table: TABLE })) count += size;
    }
  } catch (error) {
    if (error instanceof NetlinkError) throw new ModeUnavailableError(`nf_tables: ${error.message}`, { cause: error });
    throw error;
  }
  return count;
}

async function removeLeftovers(
  family: IPFamily,
  { log, signal }: { readonly log: Logger } & KernelCallOptions,
): Promise<void> {
  using kernel = new NftSocket();
  try {
    const options = signal === undefined ? {} : { signal };
    if (!(await retireTable({ kernel, family }, options))) return;
    log.info({ family }, 'the table of the nftables mode was left in the kernel: removed');
  } catch (err) {
    signal?.throwIfAborted();
    log.warn({ err, family }, 'the table of the nftables mode cannot be removed: packets pass it too');
  }
}
