/** IP addresses as whole numbers, to count with. Pure. */
import { formatIPv4, formatIPv6, type IPFamily, ipFamily, parseIPv4, parseIPv6 } from './ip.ts';

/** 32 or 128 bits. @throws TypeError for what isn't an address */
export function addressValue(ip: string): bigint {
  const bits = parseIPv4(ip);
  if (bits !== undefined) return BigInt(bits);
  const groups = parseIPv6(ip);
  if (groups === undefined) throw new TypeError(`not an IP address: ${ip}`);
  let value = 0n;
  for (const group of groups) value = (value << 16n) | BigInt(group);
  return value;
}

/** The reverse; canonical. */
export function addressOfValue(family: IPFamily, value: bigint): string {
  if (family === 'IPv4') return formatIPv4(Number(value));
  return formatIPv6(Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(112 - 16 * index)) & 0xffffn)));
}

/** An address among all addresses of its family. */
export interface Place {
  readonly family: IPFamily;
  readonly value: bigint;
}

/** @param ip canonical */
export function placeOf(ip: string): Place {
  return { family: ipFamily(ip), value: addressValue(ip) };
}
