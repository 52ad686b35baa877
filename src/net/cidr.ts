import { formatIPv4, formatIPv6, type IPFamily, ipFamily, parseIPv4, parseIPv6 } from './ip.ts';

/** One address range. `text` is canonical: the network address with host bits cleared, and the prefix length. */
export interface CIDR {
  readonly text: string;
  readonly family: IPFamily;
  /** The network address, canonical. */
  readonly address: string;
  readonly prefixLength: number;
  /** The network address as 32-bit words, most significant first: one for IPv4, four for IPv6. */
  readonly words: readonly number[];
}

/** The mask of one 32-bit word of which the first `bits` bits belong to the prefix. */
function wordMask(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? 0xffffffff : (0xffffffff << (32 - bits)) >>> 0;
}

/** Eight groups as four 32-bit words. */
function wordsOf(groups: readonly number[]): number[] {
  return [0, 2, 4, 6].map(i => (groups[i] ?? 0) * 65536 + (groups[i + 1] ?? 0));
}

/** Four 32-bit words as eight groups. */
function groupsOf(words: readonly number[]): number[] {
  return words.flatMap(word => [word >>> 16, word & 0xffff]);
}

/** A CIDR from words whose host bits may be set; they are cleared. */
function makeCIDR(family: IPFamily, words: readonly number[], prefixLength: number): CIDR {
  const network = words.map((word, i) => (word & wordMask(prefixLength - 32 * i)) >>> 0);
  const address = family === 'IPv4' ? formatIPv4(network[0] ?? 0) : formatIPv6(groupsOf(network));
  return { text: `${address}/${prefixLength}`, family, address, prefixLength, words: network };
}

/**
 * Reads a CIDR. Surrounding white space is ignored, leading zeros in IPv4 are decimal, host bits are cleared
 * (`10.1.2.3/8` is `10.0.0.0/8`, as Go's ParseCIDR returns the network). undefined when the text isn't a CIDR.
 */
export function parseCIDR(text: string): CIDR | undefined {
  const trimmed = text.trim();
  const slash = trimmed.indexOf('/');
  if (slash < 0) return undefined;
  const length = trimmed.slice(slash + 1);
  if (!/^\d{1,3}$/.test(length)) return undefined;
  const prefixLength = Number(length);
  const address = trimmed.slice(0, slash);
  const bits = parseIPv4(address);
  if (bits !== undefined) return prefixLength <= 32 ? makeCIDR('IPv4', [bits], prefixLength) : undefined;
  const groups = parseIPv6(address);
  if (groups === undefined || prefixLength > 128) return undefined;
  return makeCIDR('IPv6', wordsOf(groups), prefixLength);
}

/** The canonical text of a CIDR, undefined when the text isn't one. */
export function canonicalCIDR(text: string): string | undefined {
  return parseCIDR(text)?.text;
}

/** Whether a canonical address lies in the range; an address of the other family never does. */
export function cidrContains(cidr: CIDR, ip: string): boolean {
  if (cidr.family === 'IPv4') {
    const bits = parseIPv4(ip);
    return bits !== undefined && (bits & wordMask(cidr.prefixLength)) >>> 0 === cidr.words[0];
  }
  const groups = parseIPv6(ip);
  if (groups === undefined) return false;
  return wordsOf(groups).every((word, i) => (word & wordMask(cidr.prefixLength - 32 * i)) >>> 0 === cidr.words[i]);
}

/** The range that holds exactly one canonical address. */
export function hostCIDR(ip: string): CIDR {
  const cidr = parseCIDR(`${ip}/${ipFamily(ip) === 'IPv4' ? 32 : 128}`);
  if (cidr === undefined) throw new TypeError(`not an IP address: ${ip}`);
  return cidr;
}

/** What is left of `cidr` without `hole`, as few ranges as can be. */
export function cidrWithout(cidr: CIDR, hole: CIDR): readonly CIDR[] {
  if (!cidrsOverlap(cidr, hole)) return [cidr];
  if (hole.prefixLength <= cidr.prefixLength) return [];
  return halvesOf(cidr).flatMap(half => cidrWithout(half, hole));
}

function halvesOf({ family, words, prefixLength }: CIDR): readonly CIDR[] {
  const upper = words.map((word, i) =>
    i === prefixLength >> 5 ? (word | (0x80000000 >>> (prefixLength & 31))) >>> 0 : word,
  );
  return [words, upper].map(half => makeCIDR(family, half, prefixLength + 1));
}

/** Whether two ranges share an address. */
export function cidrsOverlap(a: CIDR, b: CIDR): boolean {
  const [wide, narrow] = a.prefixLength <= b.prefixLength ? [a, b] : [b, a];
  return wide.family === narrow.family && cidrContains(wide, narrow.address);
}
