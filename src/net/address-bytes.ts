/** IP addresses in network byte order. Pure. */
import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from './ip.ts';

/** 4 or 16 bytes. @throws TypeError for what isn't a canonical address */
export function addressBytes(ip: string): Buffer {
  const bytes = Buffer.allocUnsafe(ip.includes(':') ? 16 : 4);
  writeAddress(bytes, ip);
  return bytes;
}

/** The same into bytes that are there already; how many were written. @throws TypeError */
export function writeAddress(bytes: Buffer, ip: string): 4 | 16 {
  const bits = parseIPv4(ip);
  if (bits !== undefined) {
    bytes.writeUInt32BE(bits);
    return 4;
  }
  const groups = parseIPv6(ip);
  if (groups === undefined) throw new TypeError(`not an IP address: ${ip}`);
  for (const [index, group] of groups.entries()) bytes.writeUInt16BE(group, index * 2);
  return 16;
}

/** The reverse; canonical. */
export function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return formatIPv4(bytes.readUInt32BE(0));
  return formatIPv6(Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2)));
}
