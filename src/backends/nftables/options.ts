import type { Configuration } from '../../config/configuration.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { KnownFacts } from '../family-backend.ts';
import { changedLines, type NodeOptions, nodeOptions, optionTexts } from '../node-options.ts';

/** What the rules of every Service depend on. */
export interface NftablesOptions extends NodeOptions {
  /** Canonical, of this family; addresses in them that no Service has lead nowhere. */
  readonly serviceCIDRs: readonly string[];
}

/** From the configuration and what is known of this node and its cluster. Pure. */
export function nftablesOptions(
  configuration: Configuration,
  { node, family, serviceCIDRs, kernel }: KnownFacts & { readonly family: IPFamily },
): NftablesOptions {
  const ofFamily = serviceCIDRs.filter(cidr => cidr.includes(':') === (family === 'IPv6'));
  return { ...nodeOptions({ ...configuration, mode: 'nftables' }, node, family, kernel), serviceCIDRs: ofFamily };
}

/** What differs between two sets of options, a line for each field, for the log. */
export function nftablesOptionChanges(before: NftablesOptions, after: NftablesOptions): readonly string[] {
  return changedLines(textsOf(before), textsOf(after));
}

function textsOf(options: NftablesOptions): Readonly<Record<string, string>> {
  return { ...optionTexts(options), 'ranges of cluster IPs': options.serviceCIDRs.join(', ') || 'unknown' };
}
