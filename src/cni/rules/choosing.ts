/** Which tables the rules of pods are kept in: tried, not looked up by version. */
import { usableFamilies } from '../../backends/iptables/tools.ts';
import { errnoText, NOT_OF_AN_OBJECT } from '../../backends/nftables/errno.ts';
import { TableBatch } from '../../backends/nftables/table-batch.ts';
import { run as runProgram } from '../../linux/exec.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { NetlinkError, readGeneration } from '../../linux/nfnetlink.ts';
import type { Logger } from '../../log.ts';
import { IptablesTables } from './iptables-tables.ts';
import { NftTables } from './nft-tables.ts';
import { hasTable } from './reading.ts';
import type { RuleTables } from './rule-tables.ts';
import { tableSpec } from './tables.ts';

export type RulesKind = 'nftables' | 'iptables';

export interface ChoosingOptions {
  readonly kernel: NftKernel;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Without a look at the kernel. */
  readonly wanted?: RulesKind;
  readonly run?: typeof runProgram;
  readonly generation?: () => Promise<number>;
}

export interface ChosenTables {
  readonly kind: RulesKind;
  readonly tables: RuleTables;
}

/** Of the trial; gone with it. */
const TRIAL_TABLE = 'kproxy-ts-cni-trial';
/** EINVAL of netfilter without the subsystem, EPROTONOSUPPORT without netfilter's sockets, EOPNOTSUPP, EAFNOSUPPORT. */
const MISSING = new Set([22, 93, 95, 97]);

/** nf_tables; where the kernel can't do it, iptables, which is said once. @throws Error when neither can be used, NetlinkError when nf_tables can't be asked for another reason */
export async function chooseTables(options: ChoosingOptions): Promise<ChosenTables> {
  const { kernel, log, wanted, run = runProgram } = options;
  const reasons = {
    nftables: async () => undefined,
    iptables: async () => 'as asked for',
    any: () => nftLack(options),
  };
  const why = await reasons[wanted ?? 'any']();
  if (why === undefined) return { kind: 'nftables', tables: new NftTables({ kernel, log }) };
  const { families, missing } = await usableFamilies({ variant: 'legacy', run });
  const lacks = missing.map(({ family, reason }) => `${family}: ${reason}`);
  if (families.length === 0) {
    throw new Error(`pods can have no masquerade and no hostPorts: nf_tables: ${why}; iptables: ${lacks.join('; ')}`);
  }
  const fields = { families, nftables: why, ...(lacks.length === 0 ? {} : { missing: lacks }) };
  log.info(fields, `the rules of pods are in iptables-legacy for ${families.join(' and ')}, without nf_tables: ${why}`);
  return { kind: 'iptables', tables: new IptablesTables({ families, log, run }) };
}

/** Why nf_tables can't be used; undefined = it can. Of IPv6 nothing is asked: a kernel may be without it. */
async function nftLack({ kernel, generation }: ChoosingOptions): Promise<string | undefined> {
  const lack = await subsystemLack(generation);
  if (lack !== undefined) return lack;
  if (await hasTable(kernel, 'IPv4')) return undefined;
  const trial = { ...tableSpec('IPv4'), name: TRIAL_TABLE };
  const batch = new TableBatch();
  batch.table(trial, false);
  batch.removeTable(trial);
  const refusal = await batch.commit(kernel);
  if (refusal === undefined) return undefined;
  const text = `the kernel refuses ${refusal.subject}: ${errnoText(refusal.errno)}`;
  if (NOT_OF_AN_OBJECT.has(refusal.errno)) throw new NetlinkError('nf_tables', refusal.errno, text);
  return text;
}

/** Why the kernel has no nf_tables at all; undefined = it has. Writes nothing. @throws NetlinkError */
export async function subsystemLack(generation = readGeneration): Promise<string | undefined> {
  try {
    await generation();
    return undefined;
  } catch (error) {
    if (error instanceof NetlinkError && MISSING.has(error.errno)) return error.message;
    throw error;
  }
}
