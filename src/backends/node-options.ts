import { type Configuration, type SettledConfiguration, sectionOf } from '../config/configuration.ts';
import { type CIDR, cidrWithout, hostCIDR, parseCIDR } from '../net/cidr.ts';
import { ipFamily, isUnspecified } from '../net/ip.ts';
import type { IPFamily, Node } from '../watch/objects.ts';

/** What this machine's kernel was told, by us or by others. */
export interface KernelFacts {
  /** conntrack takes packets for valid that it cannot place (nf_conntrack_tcp_be_liberal). */
  readonly isConntrackLiberal: boolean;
}

/** How to tell traffic of this cluster's pods from the rest: a source range, or the interface it comes in by (`name`, or `prefix+`). */
export type LocalDetector =
  | { readonly kind: 'none' }
  | { readonly kind: 'source'; readonly cidr: string }
  | { readonly kind: 'interface'; readonly pattern: string };

/** The CIDRs of one family whose addresses of this node take NodePorts. */
export type NodePortAddresses = 'all' | readonly string[];

/** What the rules of every Service depend on in any mode. */
export interface NodeOptions {
  readonly family: IPFamily;
  readonly masqueradeAll: boolean;
  readonly localDetector: LocalDetector;
  /** Destinations that accept NodePorts, canonical CIDRs without loopback addresses; none = no NodePorts. */
  readonly nodePortAddresses: NodePortAddresses;
  /** NodePorts on 127.0.0.0/8 too; absent = never. */
  readonly hasLocalhostNodePorts?: boolean;
  /** The node's own address, as far as known. */
  readonly nodeIP?: string;
  /** Packets that conntrack cannot place are dropped; not where it is told to be liberal about them. */
  readonly dropsInvalid: boolean;
}

/** What the rules of one family depend on, from the configuration and what is known of this node. Pure. */
export function nodeOptions(
  configuration: SettledConfiguration,
  node: Node | undefined,
  family: IPFamily,
  { isConntrackLiberal }: KernelFacts = { isConntrackLiberal: false },
): NodeOptions {
  const nodeIP = primaryAddress(configuration, node, family);
  return {
    family,
    masqueradeAll: sectionOf(configuration).masqueradeAll,
    localDetector: localDetector(configuration.detectLocal, node, family),
    nodePortAddresses: withoutLoopback(acceptedAddresses(configuration, nodeIP, family), family),
    ...(nodeIP === undefined ? {} : { nodeIP }),
    dropsInvalid: !isConntrackLiberal,
  };
}

/** What differs between two sets of options, a line for each field, for the log. */
export function optionChanges(before: NodeOptions, after: NodeOptions): readonly string[] {
  return changedLines(optionTexts(before), optionTexts(after));
}

/** Each option in words, by what people call it. */
export function optionTexts(options: NodeOptions): Readonly<Record<string, string>> {
  return {
    masqueradeAll: String(options.masqueradeAll),
    'pods are recognised by': detectorText(options.localDetector),
    'addresses for NodePorts': [options.nodePortAddresses].flat().join(', ') || 'none',
    "the node's address": options.nodeIP ?? 'unknown',
    'packets that conntrack cannot place': options.dropsInvalid ? 'dropped' : 'accepted',
  };
}

/** A line for each field that differs, in the order of `before`. */
export function changedLines(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): readonly string[] {
  return Object.entries(before)
    .filter(([field, text]) => after[field] !== text)
    .map(([field, text]) => `${field}: ${text} → ${after[field]}`);
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

/**
 * What the configuration says of NodePorts, loopback addresses included. A list without an entry of this family accepts every address of it, as in
 * kube-proxy.
 */
export function acceptedAddresses(
  { nodePortAddresses: configured }: Configuration,
  nodeIP: string | undefined,
  family: IPFamily,
): NodePortAddresses {
  if (configured === 'primary') return nodeIP === undefined ? [] : [hostCIDR(nodeIP).text];
  const ofFamily = configured.filter(isOfFamily(family));
  return ofFamily.length === 0 || ofFamily.some(cidr => cidr.endsWith('/0')) ? 'all' : ofFamily;
}

export const LOOPBACK = { IPv4: '127.0.0.0/8', IPv6: '::1/128' } as const;

function withoutLoopback(accepted: NodePortAddresses, family: IPFamily): NodePortAddresses {
  if (accepted === 'all') return 'all';
  const loopback = rangeOf(LOOPBACK[family]);
  return accepted.flatMap(text => cidrWithout(rangeOf(text), loopback)).map(({ text }) => text);
}

/** @throws TypeError */
export function rangeOf(text: string): CIDR {
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
