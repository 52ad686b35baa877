import { detectVariant, NoUsableFamilyError, usableFamilies, type Variant } from './backends/iptables/tools.ts';
import type { Configuration } from './config/configuration.ts';
import type { Logger } from './log.ts';
import type { IPFamily } from './watch/objects.ts';

/** What this node can be programmed with. */
export interface NodeFamilies {
  readonly variant: Variant;
  readonly families: readonly IPFamily[];
}

/** Settles the variant of iptables and the IP families, with a line in the log for each decision. @throws NoUsableFamilyError */
export async function settleFamilies({ iptables }: Configuration, parent: Logger): Promise<NodeFamilies> {
  const log = parent.child({ component: 'config' });
  const { variant, why } =
    iptables.variant === 'auto' ? await detectVariant() : { variant: iptables.variant, why: 'as configured' };
  const { families, missing } = await usableFamilies({ variant });
  if (families.length === 0) throw new NoUsableFamilyError(missing);
  log.info({ variant, families }, `iptables-${variant} (${why}) for ${families.join(' and ')}`);
  for (const { family, reason } of missing) log.warn({ family, variant }, `${family} is left out: ${reason}`);
  return { variant, families };
}
