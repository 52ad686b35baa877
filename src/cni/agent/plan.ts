/** What an attachment is made of, from what is kept of it. Pure. */
import { parseCIDR } from '../../net/cidr.ts';
import type { BridgePort, NetworkConfig } from '../config/network.ts';
import type { Json } from '../config/reader.ts';
import type { Attachment } from '../ipam/attachment.ts';
import { addressOf } from '../ipam/attachment.ts';
import type { PodRules } from '../rules/pod-rules.ts';
import { isLinkName } from '../spec/environment.ts';
import { attachmentKey, type Bandwidth, type CniResult, type CniRoute } from '../types.ts';
import { aliasOf, hostLinkOf } from '../wiring/names.ts';
import type { LinkSpec } from '../wiring/specs.ts';

/** What of a configuration outlives the request: `config` of an Attachment. The same for all pods of a network, as a rule. */
export interface KeptConfig {
  readonly role: NetworkConfig['role'];
  readonly port: Omit<BridgePort, 'mac'>;
  readonly ipMasq: boolean;
  readonly routes: readonly CniRoute[];
  readonly bandwidth?: Bandwidth;
  /** The section `ipam` of another plugin, which DEL is to call whatever the configuration is then. */
  readonly delegate?: Json;
  /** The addresses are of the node's range, which may change while pods live. */
  readonly isOfNode?: boolean;
  /** Of an interface that another plugin made: the node's interface behind which that is. */
  readonly behind?: string;
}

export function keptConfig({ role, port, ipMasq, routes, bandwidth, ...config }: NetworkConfig): KeptConfig {
  const { mac: _, ...shared } = port;
  const behind = role === 'chained' ? hostSideOf(config.prevResult) : undefined;
  const isOfNode = config.ipam === 'own' && !namesRanges(config);
  return {
    ...{ role, port: shared, ipMasq, routes },
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(config.ipam === 'other' ? { delegate: config.ipamSection } : {}),
    ...(isOfNode ? { isOfNode } : {}),
    ...(behind === undefined ? {} : { behind }),
  };
}

/** Neither is a link's, but the settings of all and of those to come. */
const NO_LINKS: readonly string[] = ['all', 'default'];

/** The bridge, of a plugin that has one (it tells that first), else the other end of the link; undefined of an interface that has nothing on the node (macvlan). */
function hostSideOf(prevResult: CniResult | undefined): string | undefined {
  const ofNode = prevResult?.interfaces?.find(({ sandbox }) => (sandbox ?? '') === '');
  return ofNode !== undefined && isLinkName(ofNode.name) && !NO_LINKS.includes(ofNode.name) ? ofNode.name : undefined;
}

function namesRanges({ ipamSection, runtimeRanges }: Pick<NetworkConfig, 'ipamSection' | 'runtimeRanges'>): boolean {
  const { subnet, ranges } = ipamSection;
  return [subnet, ranges, runtimeRanges].some(value => value !== undefined && value !== null);
}

/** Undefined of an attachment whose record was made of something else (host-local's files): it has addresses only. */
export function configOf({ config }: Attachment): KeptConfig | undefined {
  const kept = config as Partial<KeptConfig> | null | undefined;
  return kept?.port === undefined ? undefined : (kept as KeptConfig);
}

/** The bridge's own addresses: the gateways of the pod's, in its networks. Addresses of one network share theirs. */
export function gatewaysOf(addresses: Attachment['addresses']): readonly string[] {
  const all = addresses.flatMap(({ address, gateway }) =>
    gateway === undefined ? [] : [`${gateway}${address.slice(address.indexOf('/'))}`],
  );
  return [...new Set(all)];
}

/** Of an attachment whose interface we make. */
export function linkSpecOf(
  attachment: Attachment,
  { port, routes, bandwidth, isOfNode = false }: KeptConfig,
): LinkSpec {
  const { id, netns, mac, addresses } = attachment;
  const { bridge, isGateway, forceAddress, promisc, mtu, vlan } = port;
  const gateways = isGateway ? gatewaysOf(addresses) : [];
  return {
    netns,
    ifname: id.ifname,
    hostLink: hostLinkOf(id),
    alias: aliasOf(id),
    bridge: { name: bridge, gateways, forceAddress, promisc, vlanFiltering: false, keepsOthers: isOfNode, isOfNode },
    // A pod reaches itself by a Service or a hostPort; a bridge that hears everything would send such frames twice.
    hairpin: !port.promisc,
    isolated: port.isolated,
    vlanTrunk: port.vlanTrunk,
    preserveDefaultVlan: port.preserveDefaultVlan,
    addresses,
    routes,
    isDefaultGateway: port.isDefaultGateway,
    dad: port.dad,
    up: port.isUp,
    ...(mac === undefined ? {} : { mac }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(vlan === undefined ? {} : { vlan }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
  };
}

export function podRulesOf(attachment: Attachment, { role, port, ipMasq, ...kept }: KeptConfig): PodRules {
  const { id, mac } = attachment;
  const addresses = attachment.addresses.map(addressOf);
  const behind = role === 'link' ? port.bridge : kept.behind;
  const checks = role === 'link' && (port.macspoofchk || port.ipspoofchk);
  const spoof = {
    hostLink: hostLinkOf(id),
    ...(port.macspoofchk && mac !== undefined ? { mac } : {}),
    ...(port.ipspoofchk ? { ips: addresses } : {}),
  };
  return {
    key: attachmentKey(id),
    addresses,
    masquerade: ipMasq,
    networks: attachment.addresses.flatMap(({ address }) => networkOf(address)),
    // Others' bridges and what isn't masqueraded may well be on the node's LAN, which other pods are masqueraded to.
    areOfPods: role === 'link' && ipMasq,
    hostPorts: attachment.hostPorts,
    ...(checks ? { spoof } : {}),
    ...(role === 'link' ? { bridge: port.bridge } : {}),
    ...(behind === undefined ? {} : { behind }),
  };
}

/** The rules are nothing without an address, a port or a check. */
export function hasRules({ masquerade, hostPorts, spoof, addresses }: PodRules): boolean {
  return (masquerade && addresses.length > 0) || hostPorts.length > 0 || spoof !== undefined;
}

function networkOf(address: string): string[] {
  const cidr = parseCIDR(address);
  return cidr === undefined ? [] : [cidr.text];
}
