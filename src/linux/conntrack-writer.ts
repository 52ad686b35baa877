/** Writes messages of ctnetlink. Source: include/uapi/linux/{netlink,netfilter/nfnetlink}.h. */
import { type IPFamily, parseIPv4, parseIPv6 } from '../net/ip.ts';
import { HEADER, NLM_F_REQUEST, nativeWriters, PAYLOAD } from './nfnetlink.ts';

const NLA_F_NESTED = 0x8000;
/** NFPROTO_IPV4, NFPROTO_IPV6, AF_UNSPEC */
export const FAMILY = { IPv4: 2, IPv6: 10, both: 0 };

interface MessageHeader {
  readonly type: number;
  readonly flags: number;
  readonly family: keyof typeof FAMILY;
  readonly sequence: number;
}

/** The largest message here, an IPv6 entry with both directions and zones, takes less. */
const LONGEST_MESSAGE = 320;

/** Writes one message, attribute by attribute, into one piece of memory: thousands of deletions leave little garbage. */
export class Writer {
  readonly #buffer = Buffer.allocUnsafe(LONGEST_MESSAGE).fill(0);
  readonly #native = nativeWriters(this.#buffer);
  #at = PAYLOAD;

  constructor({ type, flags, family, sequence }: MessageHeader) {
    this.#native.u16(4, type);
    this.#native.u16(6, NLM_F_REQUEST | flags);
    this.#native.u32(8, sequence);
    this.#buffer[HEADER] = FAMILY[family];
  }

  nest(type: number, body: () => void): void {
    const start = this.#at;
    this.#at += 4;
    body();
    this.#header(start, type | NLA_F_NESTED, this.#at - start);
  }

  u8(type: number, value: number): void {
    this.#buffer.writeUInt8(value, this.#reserve(type, 1));
  }

  u16(type: number, value: number): void {
    this.#buffer.writeUInt16BE(value, this.#reserve(type, 2));
  }

  u32(type: number, value: number): void {
    this.#buffer.writeUInt32BE(value, this.#reserve(type, 4));
  }

  nativeU32(type: number, value: number): void {
    this.#native.u32(this.#reserve(type, 4), value);
  }

  /** @throws TypeError when the text isn't an address of the family. */
  address(type: number, text: string, family: IPFamily): void {
    const value = family === 'IPv4' ? parseIPv4(text) : parseIPv6(text);
    if (value === undefined) throw new TypeError(`not an ${family} address: ${text}`);
    if (typeof value === 'number') {
      this.u32(type, value);
      return;
    }
    const at = this.#reserve(type, 16);
    for (const [i, group] of value.entries()) this.#buffer.writeUInt16BE(group, at + 2 * i);
  }

  finish(): Buffer {
    this.#native.u32(0, this.#at);
    return this.#buffer.subarray(0, this.#at);
  }

  /** Where the value of so many bytes goes. */
  #reserve(type: number, length: number): number {
    const at = this.#at;
    this.#header(at, type, 4 + length);
    this.#at += 4 + ((length + 3) & ~3);
    return at + 4;
  }

  #header(at: number, type: number, length: number): void {
    this.#native.u16(at, length);
    this.#native.u16(at + 2, type);
  }
}
