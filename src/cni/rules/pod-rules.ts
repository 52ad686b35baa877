/** What the rules know of a pod. Pure. */
import type { HostPort } from '../types.ts';

/** One attachment. Addresses are canonical. */
export interface PodRules {
  /** `attachmentKey`. */
  readonly key: string;
  /** Without prefix length. The first of a family is where its hostPorts lead. */
  readonly addresses: readonly string[];
  /** Its packets leave the node with the node's address. */
  readonly masquerade: boolean;
  /** CIDRs of its addresses: what is there reaches it without the node. Of nobody else anything follows from them, unless `areOfPods`. */
  readonly networks: readonly string[];
  /** Its networks are those of pods here: no pod is masqueraded on its way to them. */
  readonly areOfPods: boolean;
  readonly hostPorts: readonly HostPort[];
  readonly spoof?: SpoofCheck;
  /** The bridge of ours behind which it is. */
  readonly bridge?: string;
  /** The node's interface behind which it is: that bridge, or what another plugin made. */
  readonly behind?: string;
}

export interface SpoofCheck {
  /** The host's end of its link. */
  readonly hostLink: string;
  /** The only source of its frames; absent = any. */
  readonly mac?: string;
  /** The only sources of its packets, beside IPv6 link-local ones; absent = any. */
  readonly ips?: readonly string[];
}
