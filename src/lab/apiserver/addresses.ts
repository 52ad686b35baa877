/** IP addresses and CIDRs as numbers, for the address allocator and the checks. */
import { isIP, isIPv4 } from 'node:net';

export type IPFamily = 'IPv4' | 'IPv6';

/** The family of an address in strict notation, undefined for anything else (zones too). */
export function familyOf(address: string): IPFamily | undefined {
  if (address.includes('%')) return undefined;
  const version = isIP(address);
  return version === 4 ? 'IPv4' : version === 6 ? 'IPv6' : undefined;
}

function parseIPv4(address: string): bigint {
  return address.split('.').reduce((value, byte) => value * 256n + BigInt(byte), 0n);
}

/** IPv6 groups of one side of `::`; a dotted tail counts as two groups. */
function groupsOf(text: string): bigint[] {
  if (text === '') return [];
  return text.split(':').flatMap(group => {
    if (!isIPv4(group)) return [BigInt(`0x${group}`)];
    const value = parseIPv4(group);
    return [value >> 16n, value & 0xffffn];
  });
}

/** The address as an integer. The text must be valid (see `familyOf`). */
export function addressValue(address: string): bigint {
  if (isIPv4(address)) return parseIPv4(address);
  const [head = '', tail] = address.split('::');
  const before = groupsOf(head);
  const after = groupsOf(tail ?? '');
  const zeros = tail === undefined ? [] : new Array<bigint>(8 - before.length - after.length).fill(0n);
  return [...before, ...zeros, ...after].reduce((value, group) => (value << 16n) | group, 0n);
}

/** The canonical text of an address (RFC 5952 for IPv6). */
export function formatAddress(family: IPFamily, value: bigint): string {
  if (family === 'IPv4') return [24n, 16n, 8n, 0n].map(shift => (value >> shift) & 255n).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => (value >> BigInt(112 - 16 * index)) & 0xffffn);
  return new URL(`http://[${groups.map(group => group.toString(16)).join(':')}]/`).hostname.slice(1, -1);
}

export interface Cidr {
  readonly text: string;
  readonly family: IPFamily;
  readonly base: bigint;
  /** Number of addresses; ranges larger than 2^32 count as 2^32, as nobody allocates that many. */
  readonly size: number;
}

/** Undefined when the text isn't `address/length`. */
export function parseCidr(text: string): Cidr | undefined {
  const [address = '', length = '', ...rest] = text.split('/');
  const family = familyOf(address);
  const bits = family === 'IPv4' ? 32 : 128;
  if (family === undefined || rest.length > 0 || !/^\d{1,3}$/.test(length) || Number(length) > bits) return undefined;
  const hostBits = BigInt(bits - Number(length));
  const base = (addressValue(address) >> hostBits) << hostBits;
  return { text, family, base, size: hostBits > 32n ? 2 ** 32 : 2 ** Number(hostBits) };
}

/** The position of an address in a range, undefined when it lies outside. */
export function offsetIn(cidr: Cidr, address: string): number | undefined {
  if (familyOf(address) !== cidr.family) return undefined;
  const offset = addressValue(address) - cidr.base;
  return offset < 0n || offset >= BigInt(cidr.size) ? undefined : Number(offset);
}

/** Addresses that no endpoint may have, with the words of the API's validation. */
const specialAddresses: readonly (readonly [RegExp, string])[] = [
  [/^(0\.0\.0\.0|::)$/, 'may not be unspecified (0.0.0.0 or ::)'],
  [/^(127\..*|::1)$/, 'may not be in the loopback range (127.0.0.0/8, ::1/128)'],
  [/^(169\.254\.|fe[89ab][0-9a-f]:)/i, 'may not be in the link-local range (169.254.0.0/16, fe80::/10)'],
  [/^(224\.0\.0\.|ff02:)/i, 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'],
];

/** Why an address can't be one of an endpoint (ValidateNonSpecialIP), undefined when it can. */
export function specialAddress(address: string): string | undefined {
  return specialAddresses.find(([pattern]) => pattern.test(address))?.[1];
}
