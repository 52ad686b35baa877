/** Which of both writes the rules of pods on this node. */
import { type NftKernel, NftSocket } from '../../linux/nf-tables.ts';
import { NetlinkError, readGeneration } from '../../linux/nfnetlink.ts';
import { IptablesTarget } from './iptables-target.ts';
import { NftablesTarget } from './nftables-target.ts';
import type { RulesLog, RulesTarget } from './target.ts';

export type RulesVariant = 'nftables' | 'iptables';

export interface ChosenTarget extends Disposable {
  readonly target: RulesTarget;
  /** Absent where the kernel has no nf_tables. */
  readonly kernel?: NftKernel;
}

/** EPERM, EACCES: it has one, and doesn't let us. */
const REFUSED = new Set([1, 13]);

/** nf_tables, unless the kernel has none (or `wanted` says otherwise); what the other one wrote before is taken away. @throws NetlinkError, CniError, ExecError */
export async function chooseTarget(log: RulesLog, wanted?: RulesVariant): Promise<ChosenTarget> {
  const obstacle = await nftablesObstacle();
  const socket = obstacle === undefined ? new NftSocket() : undefined;
  const iptables = new IptablesTarget({ log });
  const nftables = socket && new NftablesTarget({ kernel: socket, log });
  const end = { [Symbol.dispose]: () => socket?.close() };
  if (nftables !== undefined && wanted !== 'iptables') {
    await iptables.cleanup();
    return { target: nftables, kernel: socket!, ...end };
  }
  log.info({ component: 'cni', why: obstacle ?? 'as wanted' }, "the rules of pods' networks are written with iptables");
  await nftables?.cleanup();
  return { target: iptables, ...(socket === undefined ? {} : { kernel: socket }), ...end };
}

/** Why nf_tables can't be used; undefined = it can. @throws NetlinkError when we may not */
export async function nftablesObstacle(generation = readGeneration): Promise<string | undefined> {
  try {
    await generation();
    return undefined;
  } catch (error) {
    if (!(error instanceof NetlinkError) || REFUSED.has(error.errno)) throw error;
    return error.message;
  }
}
