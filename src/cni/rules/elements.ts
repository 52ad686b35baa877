/** The elements that a pod has in the sets of tables.ts. Pure. */
import { endpointBytes, endpointOfBytes, frontendBytes, frontendOfBytes } from '../../backends/nftables/bytes.ts';
import { ANY_ADDRESS } from '../../backends/nftables/objects.ts';
import type { NftFamily } from '../../backends/nftables/packet.ts';
import { addressBytes } from '../../net/address-bytes.ts';
import { type CIDR, cidrContains, parseCIDR } from '../../net/cidr.ts';
import { type IPFamily, ipFamily, isUnspecified } from '../../net/ip.ts';
import { textOf } from '../../netfilter/attributes.ts';
import { cutComment, type Element } from '../../netfilter/messages.ts';
import { macText } from '../../rtnetlink/encoding.ts';
import type { HostPort, Protocol } from '../types.ts';
import { nameBytes } from './match.ts';
import { SETS } from './names.ts';
import type { PodRules, SpoofCheck } from './pod-rules.ts';

export interface RuleElement {
  readonly family: NftFamily;
  readonly set: string;
  readonly element: Element;
  /** For people, when it is missing. */
  readonly what: string;
}

/** Sources that a pod may use before it has an address of its own (RFC 5227, RFC 4862). */
const UNSPECIFIED = ['0.0.0.0', '::'];

/** All elements of a pod, but for the networks that it has in common with others. @throws TypeError for what isn't a canonical address */
export function elementsOf(pod: PodRules): RuleElement[] {
  const { addresses, masquerade, hostPorts, spoof } = pod;
  const comment = cutComment(pod.key);
  const masked = masquerade ? addresses : [];
  return [
    ...masked.map(ip => ({
      family: ipFamily(ip),
      set: SETS.masqueraded,
      element: { key: addressBytes(ip), comment },
      what: masqueradeText(ip),
    })),
    ...hostPorts.flatMap(hostPort => hostPortElements(hostPort, addresses, comment)),
    ...ownNetworkElements(pod),
    ...(spoof === undefined ? [] : spoofElements(spoof)),
  ];
}

/** A pod's addresses, each with the networks that it is in. */
export function ownNetworks({ addresses, networks }: Pick<PodRules, 'addresses' | 'networks'>) {
  const ranges = networks.map(rangeOf);
  return addresses.flatMap(address =>
    ranges.filter(range => cidrContains(range, address)).map(network => ({ address, network })),
  );
}

function ownNetworkElements(pod: PodRules): RuleElement[] {
  const { addresses, hostPorts, masquerade, areOfPods, networks } = pod;
  const asked = hostPorts.flatMap(hostPort => hostPortTargets(hostPort, addresses).map(({ address }) => address));
  const known = [...new Set(masquerade && !areOfPods ? addresses : asked)];
  return ownNetworks({ addresses: known, networks }).map(({ address, network }) => {
    const { first, end, bits } = spanOf(network);
    const [key, keyEnd] = [first, end - 1n].map(edge => Buffer.concat([addressBytes(address), bytesOf(edge, bits)]));
    const what = `the network ${network.text} of ${address}`;
    return { family: network.family, set: SETS.ownNetworks, element: { key: key!, keyEnd: keyEnd! }, what };
  });
}

/** @throws TypeError */
export function rangeOf(text: string): CIDR {
  const range = parseCIDR(text);
  if (range === undefined) throw new TypeError(`not a CIDR: ${text}`);
  return range;
}

/** For people. */
export const masqueradeText = (ip: string) => `the masquerade of ${ip}`;

/** The families of which a hostPort takes an address. */
export function hostPortFamilies({ hostIP }: Pick<HostPort, 'hostIP'>, addresses: readonly string[]): IPFamily[] {
  const own = [...new Set(addresses.map(ipFamily))];
  return hostIP === '' ? own : own.filter(family => family === ipFamily(hostIP));
}

/** Where a hostPort leads, once for each family in which it does. */
export interface HostPortTarget {
  readonly family: IPFamily;
  /** Of the pod. */
  readonly address: string;
  /** For people. */
  readonly what: string;
}

export function hostPortTargets(hostPort: HostPort, addresses: readonly string[]): HostPortTarget[] {
  const { hostIP, hostPort: port, protocol } = hostPort;
  return hostPortFamilies(hostPort, addresses).map(family => {
    const address = addresses.find(each => ipFamily(each) === family)!;
    const what = `hostPort ${hostIP === '' ? '' : `${hostIP} `}${port}/${protocol} to ${address}`;
    return { family, address, what };
  });
}

function hostPortElements(hostPort: HostPort, addresses: readonly string[], comment: string): RuleElement[] {
  const { hostIP, hostPort: port, protocol, containerPort } = hostPort;
  const ip = hostIP === '' || isUnspecified(hostIP) ? ANY_ADDRESS : hostIP;
  return hostPortTargets(hostPort, addresses).map(({ family, address, what }) => {
    const key = frontendBytes({ ip, port, protocol: protocol.toUpperCase() }, family);
    const data = endpointBytes(family === 'IPv4' ? `${address}:${containerPort}` : `[${address}]:${containerPort}`);
    return { family, set: SETS.hostPorts, element: { key, data, comment }, what };
  });
}

/** Of the sets of hostPorts, by family. */
export type HostPortElements = Readonly<Record<IPFamily, readonly Element[]>>;

/**
 * The reverse: the hostPorts that a pod has among these elements, each of which is there once. One that is at every address of one family alone is at that
 * family's unspecified address, which is the same for a pod that has no other.
 */
export function hostPortsAmong(
  elements: HostPortElements,
  { key, addresses }: Pick<PodRules, 'key' | 'addresses'>,
): HostPort[] {
  const comment = cutComment(key);
  const found = new Map<string, HostPort>();
  for (const family of ['IPv4', 'IPv6'] as const) {
    for (const element of elements[family]) {
      // A comment that was cut may be that of another interface.
      const port = element.comment === comment ? hostPortOf(element, { family, addresses }) : undefined;
      if (port === undefined) continue;
      const hostIP = isUnspecified(port.hostIP) ? '' : port.hostIP;
      const place = [hostIP, port.hostPort, port.protocol, port.containerPort].join(' ');
      found.set(place, found.has(place) ? { ...port, hostIP } : port);
    }
  }
  return [...found.values()];
}

/** Undefined for one that doesn't lead to these addresses, or is of no form of ours. */
function hostPortOf(
  { key, data }: Element,
  { family, addresses }: { readonly family: IPFamily; readonly addresses: readonly string[] },
): HostPort | undefined {
  const frontend = frontendOfBytes(key, family);
  if (frontend === undefined || !(data instanceof Uint8Array)) return undefined;
  const endpoint = /^\[?(.*?)\]?:(\d+)$/.exec(endpointOfBytes(data));
  if (endpoint === null || !addresses.includes(endpoint[1]!)) return undefined;
  const unspecified = family === 'IPv4' ? '0.0.0.0' : '::';
  return {
    hostIP: frontend.ip === ANY_ADDRESS ? unspecified : frontend.ip,
    hostPort: frontend.port,
    protocol: frontend.protocol.toLowerCase() as Protocol,
    containerPort: Number(endpoint[2]),
  };
}

function spoofElements({ hostLink, mac, ips }: SpoofCheck): RuleElement[] {
  const name = nameBytes(hostLink);
  const element = (set: string, what: string, ...parts: readonly Buffer[]): RuleElement => {
    return { family: 'bridge', set, element: { key: Buffer.concat([name, ...parts]) }, what: `${what} (${hostLink})` };
  };
  const macs =
    mac === undefined
      ? []
      : [
          element(SETS.macChecked, 'the check of source MAC addresses'),
          element(SETS.macs, `the source MAC address ${mac}`, macBytes(mac)),
        ];
  if (ips === undefined) return macs;
  const sources = [...new Set([...ips, ...UNSPECIFIED])];
  return [
    ...macs,
    element(SETS.ipChecked, 'the check of source addresses'),
    ...sources.map(ip =>
      element(ipFamily(ip) === 'IPv4' ? SETS.ips4 : SETS.ips6, `the source ${ip}`, addressBytes(ip)),
    ),
  ];
}

/** Padded to whole registers. @throws TypeError */
export function macBytes(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(mac)) throw new TypeError(`not a MAC address: ${mac}`);
  return Buffer.concat([Buffer.from(mac.replaceAll(':', ''), 'hex')], 8);
}

/** The link and the address of an element of `macs`. */
export function readMacKey(key: Buffer): readonly [link: string, mac: string] {
  return [textOf(key), macText(key.subarray(nameBytes('').length).subarray(0, 6))];
}

/** Ranges as a set with intervals has them: no two that overlap or touch, each as its first key and the first one behind it. */
export function intervalElements(ranges: readonly CIDR[]): Element[] {
  const sorted = ranges.map(spanOf).sort((a, b) => (a.first < b.first ? -1 : 1));
  const merged: Span[] = [];
  for (const span of sorted) {
    const before = merged.at(-1);
    if (before === undefined || span.first > before.end) merged.push({ ...span });
    else if (span.end > before.end) before.end = span.end;
  }
  return merged.flatMap(({ first, end, bits }) => {
    const isOpen = end === 1n << BigInt(bits);
    return [{ key: bytesOf(first, bits) }, ...(isOpen ? [] : [{ key: bytesOf(end, bits), isEnd: true }])];
  });
}

interface Span {
  readonly first: bigint;
  /** The first number behind it. */
  end: bigint;
  readonly bits: number;
}

function spanOf({ family, words, prefixLength }: CIDR): Span {
  const bits = family === 'IPv4' ? 32 : 128;
  const first = words.reduce((number, word) => number * 0x1_0000_0000n + BigInt(word), 0n);
  return { first, end: first + (1n << BigInt(bits - prefixLength)), bits };
}

function bytesOf(number: bigint, bits: number): Buffer {
  return Buffer.from(number.toString(16).padStart(bits / 4, '0'), 'hex');
}
