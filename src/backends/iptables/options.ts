import type { Configuration } from '../../config/configuration.ts';
import { type CIDR, cidrsOverlap, cidrWithout, hostCIDR, parseCIDR } from '../../net/cidr.ts';
import { ipFamily, isUnspecified } from '../../net/ip.ts';
import type { IPFamily, Node } from '../../watch/objects.ts';
import type { IptablesOptions, LocalDetector } from './rules.ts';

/** What this machine's kernel was told, by us or by others. */
export interface KernelFacts {
  /** conntrack takes packets for valid that it cannot place (nf_conntrack_tcp_be_liberal). */
  readonly isConntrackLiberal: boolean;
}

/** What the rules of one family depend on, from the configuration and what is known of this node. */
export function iptablesOptions(
  configuration: Configuration,
  node: Node | undefined,
  family: IPFamily,
  { isConntrackLiberal }: KernelFacts = { isConntrackLiberal: false },
): IptablesOptions {
  const { masqueradeBit, masqueradeAll } = configuration.iptables;
  const nodeIP = primaryAddress(configuration, node, family);
  const accepted = acceptedAddresses(configuration, nodeIP, family);
  const hasLocalhostNodePorts = family === 'IPv4' && servesLocalhost(configuration, accepted);
  return {
    family,
    masqueradeBit,
    masqueradeAll,
    localDetector: localDetector(configuration.detectLocal, node, family),
    nodePortAddresses: hasLocalhostNodePorts ? accepted : withoutLoopback(accepted, family),
    hasLocalhostNodePorts,
    ...(nodeIP === undefined ? {} : { nodeIP }),
    dropsInvalid: !isConntrackLiberal,
  };
}

/** Whether NodePorts are served on 127.0.0.0/8, whatever the cluster says of the node. */
export function hasLocalhostNodePorts(configuration: Configuration): boolean {
  return servesLocalhost(configuration, acceptedAddresses(configuration, undefined, 'IPv4'));
}

function servesLocalhost({ iptables }: Configuration, accepted: IptablesOptions['nodePortAddresses']): boolean {
  return iptables.localhostNodePorts && containsIPv4Loopback(accepted);
}

/** What differs between two sets of options, a line for each field, for the log. */
export function optionChanges(before: IptablesOptions, after: IptablesOptions): readonly string[] {
  const texts = (options: IptablesOptions) => ({
    masqueradeBit: String(options.masqueradeBit),
    masqueradeAll: String(options.masqueradeAll),
    'pods are recognised by': detectorText(options.localDetector),
    'addresses for NodePorts': [options.nodePortAddresses].flat().join(', ') || 'none',
    'NodePorts on 127.0.0.1': options.hasLocalhostNodePorts ? 'yes' : 'no',
    "the node's address": options.nodeIP ?? 'unknown',
    'packets that conntrack cannot place': options.dropsInvalid ? 'dropped' : 'accepted',
  });
  const [old, now] = [texts(before), texts(after)];
  return (Object.keys(old) as (keyof typeof old)[])
    .filter(field => old[field] !== now[field])
    .map(field => `${field}: ${old[field]} → ${now[field]}`);
}

function detectorText(detector: LocalDetector): string {
  switch (detector.kind) {
    case 'none':
      return 'nothing';
    case 'source':
      return `source ${detector.cidr}`;
    case 'interface':
      return `interface ${detector.pattern}`;
  }
}

function isOfFamily(family: IPFamily): (addressOrCIDR: string) => boolean {
  return text => text.includes(':') === (family === 'IPv6');
}

/** Without the data that a mode needs, no traffic counts as local; the daemon says so. */
function localDetector(
  detectLocal: Configuration['detectLocal'],
  node: Node | undefined,
  family: IPFamily,
): LocalDetector {
  switch (detectLocal.mode) {
    case 'ClusterCIDR':
      return sourceDetector(detectLocal.cidrs.find(isOfFamily(family)));
    case 'NodeCIDR':
      return sourceDetector(node?.podCIDRs.find(isOfFamily(family)));
    case 'BridgeInterface':
      return { kind: 'interface', pattern: detectLocal.interfaceName };
    case 'InterfaceNamePrefix':
      return { kind: 'interface', pattern: `${detectLocal.interfaceNamePrefix}+` };
  }
}

function sourceDetector(cidr: string | undefined): LocalDetector {
  return cidr === undefined ? { kind: 'none' } : { kind: 'source', cidr };
}

/** A list without an entry of this family accepts every address of it, as in kube-proxy. */
function acceptedAddresses(
  { nodePortAddresses: configured }: Configuration,
  nodeIP: string | undefined,
  family: IPFamily,
): IptablesOptions['nodePortAddresses'] {
  if (configured === 'primary') return nodeIP === undefined ? [] : [hostCIDR(nodeIP).text];
  const ofFamily = configured.filter(isOfFamily(family));
  return ofFamily.length === 0 || ofFamily.some(cidr => cidr.endsWith('/0')) ? 'all' : ofFamily;
}

const LOOPBACK = { IPv4: '127.0.0.0/8', IPv6: '::1/128' } as const;

/** Whether NodePorts may be served on 127.0.0.1, of `acceptedAddresses` for IPv4. */
export function containsIPv4Loopback(accepted: IptablesOptions['nodePortAddresses']): boolean {
  const loopback = rangeOf(LOOPBACK.IPv4);
  return accepted === 'all' || accepted.some(text => cidrsOverlap(rangeOf(text), loopback));
}

function withoutLoopback(
  accepted: IptablesOptions['nodePortAddresses'],
  family: IPFamily,
): IptablesOptions['nodePortAddresses'] {
  if (accepted === 'all') return 'all';
  const loopback = rangeOf(LOOPBACK[family]);
  return accepted.flatMap(text => cidrWithout(rangeOf(text), loopback)).map(({ text }) => text);
}

function rangeOf(text: string): CIDR {
  const range = parseCIDR(text);
  if (range === undefined) throw new TypeError(`not a CIDR: ${text}`);
  return range;
}

/** A specific bindAddress is the node's own, as in kube-proxy; else what the Node object says. undefined = not known, or the node has none. */
function primaryAddress({ bindAddress }: Configuration, node: Node | undefined, family: IPFamily): string | undefined {
  const ofFamily = isOfFamily(family);
  if (ofFamily(bindAddress) && !isUnspecified(bindAddress)) return bindAddress;
  for (const wanted of ['InternalIP', 'ExternalIP']) {
    const found = node?.addresses.find(({ type, address }) => {
      return type === wanted && ipFamily(address) !== undefined && ofFamily(address);
    });
    if (found !== undefined) return found.address;
  }
  return undefined;
}
