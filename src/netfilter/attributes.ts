/**
 * Netlink messages of netfilter's subsystems, to bytes and back. Pure. Sources: include/uapi/linux/netlink.h (nlmsghdr, nlattr),
 * include/uapi/linux/netfilter/nfnetlink.h (nfgenmsg). Headers are in the machine's byte order, numbers inside nf_tables' attributes in
 * network byte order.
 */
import { endianness } from 'node:os';

const isLittle = endianness() === 'LE';
/** The other byte order's bit of an attribute's type, NLA_F_NESTED. */
const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;
/** nlmsghdr, then nfgenmsg. */
export const MESSAGE_HEADER = 20;

export interface MessageHeader {
  /** Subsystem and message: `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE`. */
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Of nfgenmsg: NFPROTO_IPV4 … */
  readonly family: number;
  /** Of nfgenmsg, in network byte order: the subsystem of a batch. */
  readonly resource?: number;
}

/** Writes messages one behind the other into a buffer that grows. */
export class MessageWriter {
  #buffer: Buffer;
  #at = 0;
  #message = 0;

  constructor(bytes = 4096) {
    this.#buffer = Buffer.allocUnsafe(bytes);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at;
  }

  /** What was written; the writer keeps its memory, so it is valid until `reset`. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  reset(): void {
    this.#at = 0;
  }

  begin({ type, flags, sequence, family, resource = 0 }: MessageHeader): void {
    this.#room(MESSAGE_HEADER);
    this.#message = this.#at;
    this.#native16(this.#at + 4, type);
    this.#native16(this.#at + 6, flags);
    this.#native32(this.#at + 8, sequence);
    this.#native32(this.#at + 12, 0);
    this.#buffer[this.#at + 16] = family;
    this.#buffer[this.#at + 17] = 0; // NFNETLINK_V0
    this.#buffer.writeUInt16BE(resource, this.#at + 18);
    this.#at += MESSAGE_HEADER;
  }

  /** Ends the message that `begin` began. */
  end(): void {
    this.#native32(this.#message, this.#at - this.#message);
  }

  /** Begins an attribute that holds attributes; give the result to `close`. */
  nest(type: number): number {
    const start = this.#header(type | NESTED, 0);
    this.#at = start + 4;
    return start;
  }

  /** @throws RangeError when the attribute is longer than the 16 bits of its length can say */
  close(start: number): void {
    const length = this.#at - start;
    if (length > 0xffff) throw new RangeError(`an attribute of ${length} bytes`);
    this.#native16(start, length);
  }

  u32(type: number, value: number): void {
    const start = this.#header(type, 4);
    this.#buffer.writeUInt32BE(value >>> 0, start + 4);
    this.#at = start + 8;
  }

  u64(type: number, value: bigint): void {
    const start = this.#header(type, 8);
    this.#buffer.writeBigUInt64BE(value, start + 4);
    this.#at = start + 12;
  }

  /** With the closing NUL. */
  text(type: number, value: string): void {
    const length = Buffer.byteLength(value) + 1;
    const start = this.#header(type, length);
    this.#buffer.write(value, start + 4);
    this.#buffer[start + 3 + length] = 0;
    this.#pad(start, length);
  }

  raw(type: number, value: Uint8Array): void {
    const { length } = value;
    const start = this.#header(type, length);
    const buffer = this.#buffer;
    for (let i = 0; i < length; i += 1) buffer[start + 4 + i] = value[i]!;
    this.#pad(start, length);
  }

  /** One TLV of user data (libnftnl/udata.h): a text with its closing NUL, of at most 254 characters. */
  userText(type: number, kind: number, value: string): void {
    const length = value.length + 1;
    const start = this.#header(type, 2 + length);
    const buffer = this.#buffer;
    buffer[start + 4] = kind;
    buffer[start + 5] = length;
    buffer.write(value, start + 6, 'latin1');
    buffer[start + 5 + length] = 0;
    this.#pad(start, 2 + length);
  }

  #header(type: number, payload: number): number {
    this.#room(payload + 8);
    const start = this.#at;
    this.#native16(start, payload + 4);
    this.#native16(start + 2, type);
    return start;
  }

  #pad(start: number, length: number): void {
    const end = start + 4 + length;
    this.#at = (end + 3) & ~3;
    for (let at = end; at < this.#at; at += 1) this.#buffer[at] = 0;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }

  /** By single bytes: Buffer's own methods check each call, and there are dozens an element. `#room` has been asked for. */
  #native16(at: number, value: number): void {
    const buffer = this.#buffer;
    buffer[at] = isLittle ? value : value >> 8;
    buffer[at + 1] = isLittle ? value >> 8 : value;
  }

  #native32(at: number, value: number): void {
    if (isLittle) this.#buffer.writeUInt32LE(value, at);
    else this.#buffer.writeUInt32BE(value, at);
  }
}

/** A 32-bit number as the machine's registers have it. */
export function hostWord(value: number): Buffer {
  const word = Buffer.allocUnsafe(4);
  writeHostWord(word, value);
  return word;
}

export function writeHostWord(bytes: Buffer, value: number, at = 0): void {
  if (isLittle) bytes.writeUInt32LE(value >>> 0, at);
  else bytes.writeUInt32BE(value >>> 0, at);
}

/** Reads what `hostWord` wrote, at `at`. */
export function readHostWord(bytes: Buffer, at = 0): number {
  return isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
}

export interface Message extends MessageHeader {
  /** Of the socket that asked for it. */
  readonly port: number;
  /** All of it, with its header. */
  readonly bytes: Buffer;
  readonly payload: Buffer;
}

/** The messages that a buffer holds. @throws RangeError when it ends in the middle of one */
export function* messagesIn(buffer: Buffer): Iterable<Message> {
  for (let at = 0; at + 16 <= buffer.length; ) {
    const length = readHostWord(buffer, at);
    if (length < 16 || at + length > buffer.length) throw new RangeError(`a netlink message of ${length} bytes`);
    const bytes = buffer.subarray(at, at + length);
    const hasFamily = length >= MESSAGE_HEADER;
    yield {
      type: native16(bytes, 4),
      flags: native16(bytes, 6),
      sequence: readHostWord(bytes, 8),
      port: readHostWord(bytes, 12),
      family: hasFamily ? bytes[16]! : 0,
      resource: hasFamily ? bytes.readUInt16BE(18) : 0,
      bytes,
      payload: bytes.subarray(Math.min(MESSAGE_HEADER, length)),
    };
    at += (length + 3) & ~3;
  }
}

/** The attributes in a payload by type; of several of one type, the last. */
export function attributesIn(payload: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (const [type, value] of attributeList(payload)) found.set(type, value);
  return found;
}

/** The attributes in a payload, one after the other. */
export function* attributeList(payload: Buffer): Iterable<readonly [type: number, value: Buffer]> {
  for (let at = 0; at + 4 <= payload.length; ) {
    const length = native16(payload, at);
    if (length < 4 || at + length > payload.length) return;
    yield [native16(payload, at + 2) & TYPE_MASK, payload.subarray(at + 4, at + length)];
    at += (length + 3) & ~3;
  }
}

/** A text attribute, without its NUL. */
export function textOf(value: Buffer): string {
  const end = value.indexOf(0);
  return value.toString('latin1', 0, end === -1 ? value.length : end);
}

/** In the machine's byte order. */
export function native16(bytes: Buffer, at: number): number {
  return isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
}
