import type { Configuration } from '../../config/configuration.ts';
import { localnetSysctl } from '../../conntrack/settings.ts';
import { kernelFamily } from '../../dump/from-kernel.ts';
import type { DumpFamily } from '../../dump/state.ts';
import { ExecError } from '../../linux/exec.ts';
import { readGeneration } from '../../linux/nfnetlink.ts';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../watch/objects.ts';
import { type Mode, ModeUnavailableError, NoUsableFamilyError, type SettledMode } from '../mode.ts';
import type { IptablesIO } from './apply.ts';
import { IPTABLES_DUMP } from './dump-format.ts';
import { createIptablesFamily } from './family.ts';
import { NftGeneration } from './generation.ts';
import { IPTABLES_KUBE_PROXY } from './kube-proxy.ts';
import { placeLocalnetGuard } from './localnet.ts';
import { hasLocalhostNodePorts } from './options.ts';
import { readPlan } from './read.ts';
import { removeEverywhere, removeFamily } from './removal.ts';
import { detectVariant, toolsOf, usableFamilies } from './tools.ts';

export const IPTABLES: Mode = {
  name: 'iptables',
  obstacle,
  settle,
  prepareNode,
  readFamilies,
  removeEverywhere: () => removeEverywhere(),
  removeLeftovers: removeFamily,
  kubeProxy: IPTABLES_KUBE_PROXY,
};

async function obstacle(): Promise<string | undefined> {
  const { variant } = await detectVariant();
  const { families, missing } = await usableFamilies({ variant });
  return families.length > 0 ? undefined : missing.map(({ family, reason }) => `${family}: ${reason}`).join('; ');
}

/** Settles the variant of iptables and the IP families. */
async function settle({ iptables }: Configuration, log: Logger): Promise<SettledMode> {
  const configLog = log.child({ component: 'config' });
  const { variant, why } =
    iptables.variant === 'auto' ? await detectVariant() : { variant: iptables.variant, why: 'as configured' };
  const { families, missing } = await usableFamilies({ variant });
  if (families.length === 0) throw new NoUsableFamilyError('iptables', missing);
  configLog.info({ variant, families }, `iptables-${variant} (${why}) for ${families.join(' and ')}`);
  for (const { family, reason } of missing) configLog.warn({ family, variant }, `${family} is left out: ${reason}`);
  const generation = new NftGeneration({
    read: readGeneration,
    onUnavailable: error =>
      log.info({ err: error }, 'nf_tables does not tell its generation: our rules are read every sync period instead'),
  });
  return { families, newBackend: family => createIptablesFamily({ family, variant, generation, log }) };
}

/** Nothing routes packets to 127.0.0.0/8 before the rules are there that keep the network away from it. */
async function prepareNode(configuration: Configuration, log: Logger) {
  return localnetSysctl(hasLocalhostNodePorts(configuration) && (await placeLocalnetGuard(configuration, log)));
}

/** IPv6 where somebody programmed it: a node may lack it altogether. */
async function readFamilies(io: Pick<IptablesIO, 'run'>): Promise<DumpFamily[]> {
  const first = await readFamily('IPv4', io);
  if (first instanceof ExecError) throw new ModeUnavailableError(first.message, { cause: first });
  const second = await readFamily('IPv6', io);
  const isThere = !(second instanceof ExecError) && (second.services.length > 0 || second.shared.rules.length > 0);
  return isThere ? [first, second] : [first];
}

async function readFamily(family: IPFamily, io: Pick<IptablesIO, 'run'>): Promise<DumpFamily | ExecError> {
  try {
    return kernelFamily(family, await readPlan({ ...io, tools: toolsOf('nft', family) }), IPTABLES_DUMP);
  } catch (error) {
    if (error instanceof ExecError) return error;
    throw error;
  }
}
