/**
 * From which addresses a network gives: host-local's `ipam` section (plugins/ipam/host-local/backend/allocator/config.go and
 * range.go), or the pod CIDRs of the node. Pure.
 */
import { addressOfValue, addressValue } from '../../net/address-value.ts';
import { type CIDR, cidrContains, parseCIDR } from '../../net/cidr.ts';
import { canonicalIP, type IPFamily, ipFamily } from '../../net/ip.ts';
import { CniError, CODE } from '../types.ts';

/** Addresses in a row, of one subnet. */
export interface AddressRange {
  readonly family: IPFamily;
  /** Canonical CIDR. */
  readonly subnet: string;
  readonly prefixLength: number;
  /** Both may be given; never the network's address and never the broadcast address. */
  readonly first: bigint;
  readonly last: bigint;
  /** Canonical; never given. */
  readonly gateway: string;
}

/** An attachment gets one address of every set. */
export interface RangeSet {
  /** `10.88.0.1-10.88.0.254`, the ranges joined by commas: what a set is known by, and shown as. */
  readonly key: string;
  readonly family: IPFamily;
  readonly ranges: readonly AddressRange[];
}

export interface RangeSource {
  /** The section `ipam` of the network's configuration. */
  readonly ipam: Readonly<Record<string, unknown>>;
  /** `runtimeConfig.ipRanges`: before the configured ones. */
  readonly runtimeRanges?: unknown;
  /** Of the node, for a configuration that names no range; undefined = not known yet. */
  readonly podCIDRs: readonly string[] | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

/** In the order in which an attachment's addresses are. @throws CniError (7, naming the field; 11 until the node has its pod CIDRs) */
export function parseRangeSets({ ipam, runtimeRanges, podCIDRs }: RangeSource): readonly RangeSet[] {
  const legacy = isGiven(ipam.subnet) ? [makeSet([parseRange(ipam, 'ipam')], 'ipam')] : [];
  const sets = [
    ...parseSets(runtimeRanges, 'runtimeConfig.ipRanges'),
    ...legacy,
    ...parseSets(ipam.ranges, 'ipam.ranges'),
  ];
  if (sets.length === 0) return setsOfNode(podCIDRs);
  refuseOverlaps(sets);
  return sets.map(({ set }) => set);
}

/** A set, and where it stands in the configuration. */
interface Located {
  readonly set: RangeSet;
  readonly field: string;
}

function bad(field: string, reason: string): CniError {
  return new CniError(CODE.badConfiguration, `${field}: ${reason}`);
}

/** As Go reads JSON: null and '' are as good as nothing. */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}

function parseSets(value: unknown, field: string): readonly Located[] {
  if (!isGiven(value)) return [];
  if (!Array.isArray(value)) throw bad(field, 'must be a list of range sets');
  return value.map((ranges: unknown, index) => {
    const setField = `${field}[${index}]`;
    if (!Array.isArray(ranges)) throw bad(setField, 'must be a list of ranges');
    return makeSet(
      ranges.map((range: unknown, rangeIndex) => parseRange(range, `${setField}[${rangeIndex}]`)),
      setField,
    );
  });
}

function setsOfNode(podCIDRs: readonly string[] | undefined): readonly RangeSet[] {
  if (podCIDRs === undefined) {
    throw new CniError(CODE.tryAgain, "ipam.ranges: none, and this node's pod CIDRs aren't known yet");
  }
  const ranges = podCIDRs.map((subnet, index) => parseRange({ subnet }, `podCIDRs[${index}]`));
  const byFamily = Map.groupBy(ranges, ({ family }) => family);
  if (byFamily.size === 0) throw new CniError(CODE.tryAgain, 'ipam.ranges: none, and this node has no pod CIDRs');
  const sets = [...byFamily.values()].map(ofFamily => makeSet(ofFamily, 'podCIDRs'));
  refuseOverlaps(sets);
  return sets.map(({ set }) => set);
}

function makeSet(ranges: readonly AddressRange[], field: string): Located {
  const [first] = ranges;
  if (first === undefined) throw bad(field, 'empty range set');
  const mixed = ranges.findIndex(({ family }) => family !== first.family);
  if (mixed >= 0) throw bad(`${field}[${mixed}]`, 'mixed address families in one range set');
  return { set: { key: ranges.map(rangeText).join(','), family: first.family, ranges }, field };
}

export function rangeText({ family, first, last }: AddressRange): string {
  return `${addressOfValue(family, first)}-${addressOfValue(family, last)}`;
}

function parseRange(value: unknown, field: string): AddressRange {
  if (typeof value !== 'object' || value === null) throw bad(field, 'must be a range: {"subnet": ...}');
  const range = value as Fields;
  const subnet = parseSubnet(range.subnet, `${field}.subnet`);
  const network = addressValue(subnet.address);
  const size = 1n << BigInt((subnet.family === 'IPv4' ? 32 : 128) - subnet.prefixLength);
  // IPv6 has no broadcast address; its lowest one is every router's (RFC 4291 2.6.1).
  const lowest = network + 1n;
  const highest = network + size - (subnet.family === 'IPv4' ? 2n : 1n);
  const start = parseAddressIn(subnet, range.rangeStart, `${field}.rangeStart`) ?? lowest;
  const end = parseAddressIn(subnet, range.rangeEnd, `${field}.rangeEnd`) ?? highest;
  if (start > end) throw bad(`${field}.rangeStart`, `is above rangeEnd ${addressOfValue(subnet.family, end)}`);
  const first = start < lowest ? lowest : start;
  const last = end > highest ? highest : end;
  if (first > last) throw bad(`${field}.rangeStart`, `no address between it and rangeEnd can be given`);
  const gateway = parseGateway(range.gateway, subnet, `${field}.gateway`);
  return { family: subnet.family, subnet: subnet.text, prefixLength: subnet.prefixLength, first, last, gateway };
}

function parseSubnet(value: unknown, field: string): CIDR {
  const subnet = typeof value === 'string' ? parseCIDR(value) : undefined;
  if (typeof value !== 'string' || subnet === undefined) throw bad(field, `${JSON.stringify(value)} is no CIDR`);
  if (canonicalIP(value.slice(0, value.indexOf('/'))) !== subnet.address) {
    throw bad(field, `${value} has host bits set; the network is ${subnet.text}`);
  }
  const smallest = subnet.family === 'IPv4' ? 30 : 126;
  if (subnet.prefixLength > smallest) throw bad(field, `${subnet.text} is too small to give addresses from`);
  return subnet;
}

/** undefined when the field isn't given. */
function parseAddressIn(subnet: CIDR, value: unknown, field: string): bigint | undefined {
  if (!isGiven(value)) return undefined;
  const address = typeof value === 'string' ? canonicalIP(value) : undefined;
  if (address === undefined) throw bad(field, `${JSON.stringify(value)} is no IP address`);
  if (!cidrContains(subnet, address)) throw bad(field, `${address} is not in ${subnet.text}`);
  return addressValue(address);
}

/** May lie outside of the subnet, as with host-local. */
function parseGateway(value: unknown, subnet: CIDR, field: string): string {
  if (!isGiven(value)) return addressOfValue(subnet.family, addressValue(subnet.address) + 1n);
  const address = typeof value === 'string' ? canonicalIP(value) : undefined;
  if (address === undefined) throw bad(field, `${JSON.stringify(value)} is no IP address`);
  if (ipFamily(address) !== subnet.family) throw bad(field, `${address} is of another family than ${subnet.text}`);
  return address;
}

interface LocatedRange {
  readonly range: AddressRange;
  readonly field: string;
}

function refuseOverlaps(sets: readonly Located[]): void {
  const ranges = sets.flatMap(({ set, field }) =>
    set.ranges.map(
      (range, index): LocatedRange => ({ range, field: set.ranges.length > 1 ? `${field}[${index}]` : field }),
    ),
  );
  const byStart = ranges.toSorted(compareStarts);
  for (const [index, { range, field }] of byStart.entries()) {
    const before = byStart[index - 1];
    if (before === undefined || before.range.family !== range.family || before.range.last < range.first) continue;
    throw bad(field, `${rangeText(range)} overlaps ${rangeText(before.range)} of ${before.field}`);
  }
}

function compareStarts(a: LocatedRange, b: LocatedRange): number {
  if (a.range.family !== b.range.family) return a.range.family < b.range.family ? -1 : 1;
  return a.range.first < b.range.first ? -1 : Number(a.range.first > b.range.first);
}
