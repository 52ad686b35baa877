/** What changes for a node's Services when we take them over from kube-proxy, in lines for the log. Pure. */
import { type NodePortAddresses, rangeOf } from '../backends/node-options.ts';
import { cidrsOverlap } from '../net/cidr.ts';
import type { KubeProxyRules } from './kube-proxy-rules.ts';

type ProxyMode = KubeProxyRules['layout'];

/** What we have programmed in the same family. */
export interface OurRules {
  readonly mode: ProxyMode;
  /** As servicePortKey writes them. */
  readonly services: Iterable<string>;
  readonly nodePortAddresses: NodePortAddresses;
  readonly hasLocalhostNodePorts: boolean;
  /** Of the iptables mode. */
  readonly masqueradeBit?: number;
}

/** So many are named; of the rest, the number. */
const MOST_NAMED = 10;

interface Behaviour {
  readonly of: string;
  readonly kubeProxy: Readonly<Record<ProxyMode, string>>;
  readonly ours: Readonly<Record<ProxyMode, string>>;
}

const alike = (iptables: string, nftables: string) => ({
  kubeProxy: { iptables, nftables },
  ours: { iptables, nftables },
});

/** Where the modes differ (of kube-proxy 1.36), but for what configuration decides. */
const BEHAVIOURS: readonly Behaviour[] = [
  { of: 'a port that a cluster IP does not have', ...alike('left alone', 'refused') },
  { of: 'an address of a ServiceCIDR that no Service has', ...alike('left alone', 'dropped') },
  { of: 'what the policy of FORWARD drops, of Services', ...alike('accepted', 'dropped') },
  { of: 'health check node ports where the policy of INPUT drops', ...alike('accepted', 'dropped') },
  {
    of: 'a forwarded packet that conntrack cannot place, unless conntrack is liberal',
    kubeProxy: { iptables: 'dropped', nftables: 'forwarded' },
    ours: { iptables: 'dropped', nftables: 'dropped' },
  },
];

/** A line for each kind of difference; bounded, whatever the size of the cluster. */
export function differences(theirs: KubeProxyRules, ours: OurRules): string[] {
  const known = new Set(ours.services);
  const gone = [...theirs.services].filter(key => !known.has(key)).toSorted();
  const added = [...known].filter(key => !theirs.services.has(key)).toSorted();
  return [
    ...named('Services that kube-proxy had and the cluster has not', gone),
    ...named('Services that the cluster has and kube-proxy had not', added),
    ...changed('NodePorts are served on', nodePortTexts(theirs, ours)),
    ...changed('NodePorts on 127.0.0.1', [yesNo(theirs.hasLocalhostNodePorts), yesNo(ours.hasLocalhostNodePorts)]),
    ...changed('the bit of the mark for masquerading', bitTexts(theirs, ours)),
    ...BEHAVIOURS.flatMap(({ of, kubeProxy, ours: own }) => changed(of, [kubeProxy[theirs.layout], own[ours.mode]])),
    ...(isAffinityKept(theirs, ours) ? [] : ['session affinity: a client that was remembered may choose anew']),
  ];
}

function named(what: string, keys: readonly string[]): string[] {
  if (keys.length === 0) return [];
  const more = keys.length > MOST_NAMED ? ` and ${keys.length - MOST_NAMED} more` : '';
  return [`${what}: ${keys.slice(0, MOST_NAMED).join(', ')}${more}`];
}

function changed(what: string, [before, after]: readonly [string, string]): string[] {
  return before === after ? [] : [`${what}: ${before} → ${after}`];
}

function nodePortTexts(theirs: KubeProxyRules, ours: OurRules): readonly [string, string] {
  const before = addressesText(theirs.nodePortAddresses);
  return [before, isSameAddresses(theirs, ours) ? before : addressesText(ours.nodePortAddresses)];
}

/** kube-proxy writes the addresses of now, where we write ranges. */
function isSameAddresses(
  { nodePortAddresses: theirs }: KubeProxyRules,
  { nodePortAddresses: ours }: OurRules,
): boolean {
  if (theirs === 'all' || ours === 'all') return theirs === ours;
  if (theirs.length === 0) return ours.length === 0;
  const ranges = ours.map(rangeOf);
  return theirs.every(text => ranges.some(range => cidrsOverlap(range, rangeOf(asRange(text)))));
}

function asRange(text: string): string {
  if (text.includes('/')) return text;
  return `${text}/${text.includes(':') ? 128 : 32}`;
}

function addressesText(addresses: NodePortAddresses): string {
  if (addresses === 'all') return 'every address of the node';
  const more = addresses.length > MOST_NAMED ? ` and ${addresses.length - MOST_NAMED} more` : '';
  return addresses.length === 0 ? 'no address' : addresses.slice(0, MOST_NAMED).join(', ') + more;
}

function yesNo(isSo: boolean): string {
  return isSo ? 'yes' : 'no';
}

function bitTexts(
  { masqueradeBit: theirs }: KubeProxyRules,
  { masqueradeBit: ours }: OurRules,
): readonly [string, string] {
  const after = ours === undefined ? 'none' : String(ours);
  return [theirs === undefined ? after : String(theirs), after];
}

function isAffinityKept(theirs: KubeProxyRules, ours: OurRules): boolean {
  return theirs.layout === 'iptables' && ours.mode === 'iptables';
}
