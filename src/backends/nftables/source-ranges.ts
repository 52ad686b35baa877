/** Who may use an address: the CIDRs of an allow list as disjoint elements of a set. Pure. */

import { addressText } from '../../net/address-bytes.ts';
import { type CIDR, cidrContains, cidrsOverlap, hostCIDR, parseCIDR } from '../../net/cidr.ts';

/** Whether an allow list keeps anybody out. */
export function restricts(ranges: readonly string[]): boolean {
  return ranges.length > 0 && !ranges.some(range => range.endsWith('/0'));
}

/**
 * The ranges without those that others hold (the kernel's sets take no overlaps); empty where everybody may come. What the node sends to a
 * load balancer address that it has itself comes from that address, so where a range has the node that address is let in too.
 */
export function allowedSources(
  ranges: readonly string[],
  own: { readonly ownVIP?: string; readonly nodeIP?: string | undefined } = {},
): readonly string[] {
  if (!restricts(ranges)) return [];
  const cidrs = ranges.map(parseCIDR).filter(cidr => cidr !== undefined);
  const { ownVIP, nodeIP } = own;
  const isOwn = ownVIP !== undefined && nodeIP !== undefined && cidrs.some(cidr => cidrContains(cidr, nodeIP));
  const all = isOwn ? [...cidrs, hostCIDR(ownVIP)] : cidrs;
  return withoutNested(all)
    .map(({ text }) => text)
    .toSorted();
}

/** In the order of their addresses and lengths one that another holds comes behind it, with nothing between but what that holds too. */
function withoutNested(cidrs: readonly CIDR[]): readonly CIDR[] {
  const kept: CIDR[] = [];
  for (const cidr of cidrs.toSorted(byAddress)) {
    const last = kept.at(-1);
    if (last === undefined || !cidrsOverlap(last, cidr)) kept.push(cidr);
  }
  return kept;
}

function byAddress(a: CIDR, b: CIDR): number {
  const at = a.words.findIndex((word, i) => word !== b.words[i]);
  return at === -1 ? a.prefixLength - b.prefixLength : a.words[at]! - b.words[at]!;
}

/** The CIDR from `first` to `last`; undefined where these aren't the ends of one. */
export function rangeText(first: Buffer, last: Buffer): string | undefined {
  let length = 0;
  const bits = first.length * 8;
  while (length < bits && bitAt(first, length) === bitAt(last, length)) length += 1;
  for (let bit = length; bit < bits; bit += 1) if (bitAt(first, bit) !== 0 || bitAt(last, bit) !== 1) return undefined;
  return `${addressText(first)}/${length}`;
}

function bitAt(bytes: Buffer, bit: number): number {
  return (bytes[bit >> 3]! >> (7 - (bit & 7))) & 1;
}
