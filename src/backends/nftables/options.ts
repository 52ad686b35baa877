import type { NodeOptions } from '../node-options.ts';

/** What the rules of every Service depend on. */
export interface NftablesOptions extends NodeOptions {
  /** Canonical; addresses in them that no Service has lead nowhere. */
  readonly serviceCIDRs: readonly string[];
}
