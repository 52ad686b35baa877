/**
 * Requests of rtnetlink(7) as values, and their bytes. Pure. Source: include/uapi/linux/{netlink,rtnetlink}.h. All numbers are in the machine's byte
 * order, addresses in network byte order.
 */
import { endianness } from 'node:os';
import { addressBytes } from '../net/address-bytes.ts';
import { hostWord, writeHostWord } from '../netfilter/attributes.ts';

const isLittle = endianness() === 'LE';
/** nlmsghdr */
export const HEADER = 16;
export const FLAG = { request: 1, ack: 4, dump: 0x300, replace: 0x100, exclusive: 0x200, create: 0x400 } as const;
const NESTED = 0x8000;
export const AF = { unspecified: 0, inet: 2, bridge: 7, inet6: 10 } as const;

/** Its value, or the attributes that it holds. */
export type Attribute = readonly [type: number, value: Uint8Array | readonly Attribute[]];

export interface RouteRequest {
  /** What it is to do, for errors: `add the address 10.88.0.2/24 to eth0`. */
  readonly op: string;
  /** RTM_… */
  readonly type: number;
  /** Beside NLM_F_REQUEST. */
  readonly flags: number;
  /** ifinfomsg, ifaddrmsg, rtmsg … */
  readonly head: Uint8Array;
  readonly attributes: readonly Attribute[];
  /** Errnos that are no failure. */
  readonly fine?: readonly number[];
}

export const u8 = (value: number): Buffer => Buffer.of(value);
export const u32 = hostWord;

export function u16(value: number): Buffer {
  return isLittle ? Buffer.of(value & 255, value >> 8) : Buffer.of(value >> 8, value & 255);
}

export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  if (isLittle) bytes.writeBigUInt64LE(BigInt(value));
  else bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** With its closing NUL. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`);

/** Six bytes of `0a:58:0a:58:00:02`. */
export const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');
export const macText = (bytes: Buffer): string => bytes.toString('hex').replace(/..(?=.)/g, '$&:');

/** The address and the prefix length of `10.88.0.2/24`. */
export function splitPrefix(cidr: string): { readonly ip: string; readonly length: number } {
  const slash = cidr.indexOf('/');
  return { ip: cidr.slice(0, slash), length: Number(cidr.slice(slash + 1)) };
}

export function familyNumber(ip: string): number {
  return ip.includes(':') ? AF.inet6 : AF.inet;
}

export const ipAttribute = (type: number, ip: string): Attribute => [type, addressBytes(ip)];

/** The requests one behind the other, with sequence numbers from `sequence` on. */
export function encodeRequests(requests: readonly RouteRequest[], sequence: number): Buffer {
  return Buffer.concat(requests.map((request, i) => encodeRequest(request, sequence + i)));
}

function encodeRequest({ type, flags, head, attributes }: RouteRequest, sequence: number): Buffer {
  const body = encodeAttributes(attributes);
  const message = Buffer.alloc(HEADER + head.length + body.length);
  writeHostWord(message, message.length);
  message.set(u16(type), 4);
  message.set(u16(flags | FLAG.request), 6);
  writeHostWord(message, sequence, 8);
  message.set(head, HEADER);
  message.set(body, HEADER + head.length);
  return message;
}

/** @throws RangeError for one that is longer than its length can say */
export function encodeAttributes(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(attributes.map(encodeAttribute));
}

function encodeAttribute([type, value]: Attribute): Buffer {
  const isNested = !(value instanceof Uint8Array);
  const payload = isNested ? encodeAttributes(value) : value;
  const length = payload.length + 4;
  if (length > 0xffff) throw new RangeError(`an attribute of ${length} bytes`);
  const whole = Buffer.alloc((length + 3) & ~3);
  whole.set(u16(length), 0);
  whole.set(u16(isNested ? type | NESTED : type), 2);
  whole.set(payload, 4);
  return whole;
}
