import type { IPFamily } from '../../watch/objects.ts';
import type { IptablesTools } from './apply.ts';

/** Which kernel interface the tools talk to: nf_tables, or the older ip_tables. */
export type Variant = 'nft' | 'legacy';

/** The programs of one variant and family, by names that don't depend on what `iptables` is a link to. */
export function toolsOf(variant: Variant, family: IPFamily): IptablesTools {
  const prefix = `${family === 'IPv6' ? 'ip6tables' : 'iptables'}-${variant}`;
  return { save: `${prefix}-save`, restore: `${prefix}-restore` };
}
