/** How a node can be programmed: kube-proxy's word for it. */
export type ProxyMode = 'iptables' | 'nftables';

/**
 * Those that this version has; of these an empty `mode` takes the first that the node's kernel and tools can do, and the last in any case. A mode
 * that is named here needs an entry in src/modes.ts.
 */
export const SERVED_MODES = ['nftables', 'iptables'] as const satisfies readonly ProxyMode[];
export type ServedMode = (typeof SERVED_MODES)[number];

export function isServed(mode: string): mode is ServedMode {
  return SERVED_MODES.some(served => served === mode);
}

/** The words that `mode` may have; those that aren't served come in later versions. */
export const MODE_WORDS = ['', 'iptables', 'nftables', 'ipvs', 'userspace'] as const;
