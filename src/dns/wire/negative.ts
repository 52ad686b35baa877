/** Answers that say that there is nothing, without the encoder: misses of the search path are a cluster's most frequent questions. */
import { TYPE } from '../records.ts';
import { wireName } from './names.ts';
import { optBytes, writeOpt } from './opt.ts';
import { FLAG, type Query } from './query.ts';

const POINTER = 0xc000;
const CLASS_IN = 1;

/** The SOA record of a zone as it stands in the authority section of answers without data (RFC 2308 §2), its serial and its pointers still zero. */
export interface NegativeSoa {
  readonly bytes: Buffer;
  readonly serialAt: number;
  /** Where names end with the zone's. */
  readonly pointersAt: readonly number[];
  /** The zone's name, with the root label. */
  readonly zoneBytes: number;
}

export interface SoaFields {
  readonly zone: string;
  /** Labels before the zone's name. */
  readonly primary: string;
  readonly mailbox: string;
  /** Of the record; `minimum` is what the zone says of others. Seconds. */
  readonly ttl: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

export function negativeSoa(fields: SoaFields): NegativeSoa {
  const { zone, primary, mailbox, ttl, refresh, retry, expire, minimum } = fields;
  const names = [primary, mailbox].map(name => Buffer.concat([wireName(name).subarray(0, -1), Buffer.alloc(2)]));
  const data = Buffer.concat([...names, uint32s(0, refresh, retry, expire, minimum)]);
  const head = Buffer.concat([Buffer.alloc(2), uint16s(TYPE.SOA, CLASS_IN), uint32s(ttl), uint16s(data.length)]);
  const primaryEnd = head.length + names[0]!.length;
  const serialAt = primaryEnd + names[1]!.length;
  const bytes = Buffer.concat([head, data]);
  return { bytes, serialAt, pointersAt: [0, primaryEnd - 2, serialAt - 2], zoneBytes: wireName(zone).length };
}

function uint16s(...values: readonly number[]): Buffer {
  return Buffer.from(values.flatMap(value => [value >>> 8, value & 255]));
}

function uint32s(...values: readonly number[]): Buffer {
  return Buffer.from(values.flatMap(value => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]));
}

/** At most 512 bytes: a question and one record. @param message the question, whose name ends with the zone's */
export function negative(
  message: Buffer,
  { nameEnd, flags, edns }: Query,
  soa: NegativeSoa,
  { rcode, serial }: { readonly rcode: number; readonly serial: number },
): Buffer {
  const at = nameEnd + 4;
  const end = at + soa.bytes.length;
  const out = Buffer.allocUnsafe(end + optBytes(edns));
  message.copy(out, 0, 0, at);
  soa.bytes.copy(out, at);
  const echoed = flags & (FLAG.recursionDesired | FLAG.checkingDisabled);
  out.writeUInt16BE(FLAG.response | FLAG.authoritative | echoed | (rcode & 15), 2);
  out.writeUInt32BE(0x0001_0000, 4);
  out.writeUInt32BE(edns === undefined ? 0x0001_0000 : 0x0001_0001, 8);
  for (const pointerAt of soa.pointersAt) out.writeUInt16BE(POINTER | (nameEnd - soa.zoneBytes), at + pointerAt);
  out.writeUInt32BE(serial, at + soa.serialAt);
  if (edns !== undefined) writeOpt(out, end, edns, rcode);
  return out;
}
