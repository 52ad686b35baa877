/** What a pod's network is to look like. Pure. */
import type { Bandwidth, CniInterface, CniRoute } from '../types.ts';

export interface BridgeSpec {
  readonly name: string;
  /** Addresses with prefix lengths that it has, `10.88.0.1/24`; empty: no gateway. With VLANs they are on `<bridge>.<vlan>`. */
  readonly gateways: readonly string[];
  /** An address in the way goes, instead of an error. */
  readonly forceAddress: boolean;
  /** Other addresses are in nobody's way: the node's range of pods changed, and pods of the old one live. */
  readonly keepsOthers?: boolean;
  /** The gateways are of the node's ranges: marked as such, so that they can go when the node has others. */
  readonly isOfNode?: boolean;
  readonly promisc: boolean;
  readonly vlanFiltering: boolean;
  /** Of a bridge that is made. */
  readonly mtu?: number;
}

export interface VlanTrunk {
  readonly minID?: number;
  readonly maxID?: number;
  readonly id?: number;
}

export interface PodAddress {
  /** With prefix length, canonical: 10.88.0.2/24 */
  readonly address: string;
  readonly gateway?: string;
}

export interface LinkSpec {
  /** A path of the pod's namespace. */
  readonly netns: string;
  readonly ifname: string;
  /** See `hostLinkOf`. */
  readonly hostLink: string;
  /** See `aliasOf`: what the host's end, and the shaper, are known by. */
  readonly alias: string;
  /** Of the pod's end; else it follows from the first IPv4 address, so that who has that address again has it under the same MAC. */
  readonly mac?: string;
  readonly mtu?: number;
  /** Without one the host's end is by itself. */
  readonly bridge?: BridgeSpec;
  readonly hairpin: boolean;
  /** From other isolated ports. */
  readonly isolated: boolean;
  readonly vlan?: number;
  readonly vlanTrunk?: readonly VlanTrunk[];
  readonly preserveDefaultVlan: boolean;
  readonly addresses: readonly PodAddress[];
  readonly routes: readonly CniRoute[];
  /** A default route by the gateway of each family, where `routes` has none. */
  readonly isDefaultGateway: boolean;
  /** Wait until nobody else is known to have the IPv6 addresses. */
  readonly dad: boolean;
  /** The pod's end: disableContainerInterface is false. */
  readonly up: boolean;
  readonly bandwidth?: Bandwidth;
}

/** What there is now. */
export interface Attached {
  /** Addresses that the kernel doesn't take packets for yet; see `settle`. */
  readonly unsettled: readonly string[];
  /** Bridge (where there is one), the host's end, the pod's end, and the gateway's link of a VLAN. MTUs are those of the kernel. */
  readonly interfaces: readonly CniInterface[];
  /** Index of the pod's end in `interfaces`. */
  readonly podInterface: number;
  readonly bridgeMac?: string;
  readonly mac: string;
  readonly hostIndex: number;
  /** Those of the specification, with default routes and gateways filled in. */
  readonly routes: readonly CniRoute[];
}
