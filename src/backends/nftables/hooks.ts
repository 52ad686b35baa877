/** Where base chains hang. Pure. */
import type { BaseChain } from '../../netfilter/messages.ts';

/** enum nf_inet_hooks */
export const HOOK = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
/** NF_IP_PRI_NAT_DST, NF_IP_PRI_FILTER, NF_IP_PRI_NAT_SRC of linux/netfilter_ipv4.h; `afterFilter`: of what was let through. */
export const PRIORITY = { destinationNat: -100, filter: 0, afterFilter: 1, sourceNat: 100 } as const;

export function filterAt(hook: number, priority: number = PRIORITY.filter): BaseChain {
  return { type: 'filter', hook, priority };
}
