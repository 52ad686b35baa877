/** Questions as they come in. RFC 1035 §4.1, RFC 6891 (EDNS). Nothing here throws, whatever the bytes are. */
import { RCODE, TYPE } from '../records.ts';
import { MOST_LABEL_BYTES, MOST_NAME_BYTES } from './names.ts';

export const HEADER_BYTES = 12;
/** RFC 1035 §2.3.4, RFC 6891 §6.2.5 */
export const PLAIN_UDP_BYTES = 512;
const POINTER_BITS = 0xc0;
const CLASS_IN = 1;

/** In the second 16 bits of a header. */
export const FLAG = {
  response: 0x8000,
  opcode: 0x7800,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  authenticData: 0x0020,
  checkingDisabled: 0x0010,
} as const;

export interface Edns {
  readonly udpBytes: number;
  readonly isDnssecOk: boolean;
}

export interface Query {
  readonly id: number;
  /** The header's second 16 bits. */
  readonly flags: number;
  /** Where the question's name ends in the message, behind its root label; it begins at HEADER_BYTES, and is HEADER_BYTES where there is none. */
  readonly nameEnd: number;
  readonly type: number;
  readonly edns: Edns | undefined;
  /** What the question is answered with whatever it asks for; undefined = it makes sense. */
  readonly refusal: number | undefined;
}

/** Undefined for what gets no answer at all: less than a header, or an answer (RFC 1035 §7.3: two servers could go on for ever). */
export function readQuery(bytes: Buffer): Query | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const flags = uint16(bytes, 2);
  if ((flags & FLAG.response) !== 0) return undefined;
  if ((flags & FLAG.opcode) !== 0) return withoutQuestion(bytes, RCODE.NOTIMP);
  if (uint16(bytes, 4) !== 1) return withoutQuestion(bytes, RCODE.FORMERR);
  const nameEnd = endOfName(bytes, HEADER_BYTES);
  if (nameEnd === undefined || nameEnd + 4 > bytes.length) return withoutQuestion(bytes, RCODE.FORMERR);
  const type = uint16(bytes, nameEnd);
  const records = uint16(bytes, 6) + uint16(bytes, 8) + uint16(bytes, 10);
  const opt = records === 0 ? undefined : optOf(bytes, nameEnd + 4, records);
  const isMalformed = opt === 'malformed';
  const edns = isMalformed ? undefined : opt;
  const refusal = isMalformed ? RCODE.FORMERR : refusalOf(uint16(bytes, nameEnd + 2), edns);
  return { id: uint16(bytes, 0), flags, nameEnd, type, edns, refusal };
}

function withoutQuestion(bytes: Buffer, refusal: number): Query {
  return { id: uint16(bytes, 0), flags: uint16(bytes, 2), nameEnd: HEADER_BYTES, type: 0, edns: undefined, refusal };
}

function refusalOf(dnsClass: number, edns: Opt | undefined): number | undefined {
  if (edns !== undefined && edns.version !== 0) return RCODE.BADVERS;
  return dnsClass === CLASS_IN ? undefined : RCODE.REFUSED;
}

/** Without Buffer's checks, which cost more than the reading. */
function uint16(bytes: Buffer, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** Behind a name without pointers; undefined where there is none. */
export function endOfName(bytes: Buffer, from: number): number | undefined {
  for (let at = from; at < bytes.length && at - from < MOST_NAME_BYTES; ) {
    const length = bytes[at]!;
    if (length === 0) return at + 1;
    if (length > MOST_LABEL_BYTES) return undefined;
    at += length + 1;
  }
  return undefined;
}

interface Opt extends Edns {
  readonly version: number;
}

/** The OPT record among those from `from` on; a second one is an error (RFC 6891 §6.1.1). */
function optOf(bytes: Buffer, from: number, records: number): Opt | 'malformed' | undefined {
  let at = from;
  let found: Opt | undefined;
  for (let count = 0; count < records; count += 1) {
    const end = endOfOwner(bytes, at);
    if (end === undefined || end + 10 > bytes.length) return 'malformed';
    if (uint16(bytes, end) === TYPE.OPT) {
      if (found !== undefined || end !== at + 1) return 'malformed';
      const udpBytes = Math.max(PLAIN_UDP_BYTES, uint16(bytes, end + 2));
      found = { udpBytes, version: bytes[end + 5]!, isDnssecOk: (bytes[end + 6]! & 0x80) !== 0 };
    }
    at = end + 10 + uint16(bytes, end + 8);
    if (at > bytes.length) return 'malformed';
  }
  return found;
}

/** Behind the name of a record, which may end in a pointer; undefined where it has no end. */
export function endOfOwner(bytes: Buffer, from: number): number | undefined {
  for (let at = from; at < bytes.length && at - from < MOST_NAME_BYTES; ) {
    const length = bytes[at]!;
    if (length === 0) return at + 1;
    if (length >= POINTER_BITS) return at + 2 <= bytes.length ? at + 2 : undefined;
    if (length > MOST_LABEL_BYTES) return undefined;
    at += length + 1;
  }
  return undefined;
}

/** Writes the name in `bytes` from HEADER_BYTES to `end` in lower case to the beginning of `out`; how many bytes that is. */
export function lowerName(bytes: Buffer, end: number, out: Buffer): number {
  for (let at = HEADER_BYTES; at < end; at += 1) {
    const byte = bytes[at]!;
    // A length is at most 63, and so no capital letter.
    out[at - HEADER_BYTES] = byte >= 65 && byte <= 90 ? byte + 32 : byte;
  }
  return end - HEADER_BYTES;
}
