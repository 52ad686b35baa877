/** Whole messages, as upstream servers send them. RFC 1035 §4.1. Nothing here throws, whatever the bytes are. */
import { TYPE } from '../records.ts';
import { MOST_LABEL_BYTES, MOST_NAME_BYTES } from './names.ts';
import { endOfName, endOfOwner, FLAG, HEADER_BYTES } from './query.ts';

const POINTER_BITS = 0xc0;
/** Every pointer has to lead before itself; more of them than labels in a name make no sense. */
const MOST_POINTERS = 127;

export type Section = 'answer' | 'authority' | 'additional';

/** A record, by where its parts are. */
export interface RawRecord {
  readonly section: Section;
  readonly at: number;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly ttlAt: number;
  readonly dataAt: number;
  /** Behind it. */
  readonly end: number;
}

export interface Message {
  readonly id: number;
  readonly flags: number;
  /** With what EDNS adds (RFC 6891 §6.1.3). */
  readonly rcode: number;
  readonly isTruncated: boolean;
  /** Where the question's name ends; it begins at HEADER_BYTES. */
  readonly nameEnd: number;
  readonly type: number;
  readonly records: readonly RawRecord[];
}

/** Undefined where the bytes are no answer to one question. */
export function readMessage(bytes: Buffer): Message | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt16BE(4) !== 1) return undefined;
  const flags = bytes.readUInt16BE(2);
  const nameEnd = endOfName(bytes, HEADER_BYTES);
  if ((flags & FLAG.response) === 0 || nameEnd === undefined || nameEnd + 4 > bytes.length) return undefined;
  const records = recordsOf(bytes, nameEnd + 4);
  if (records === undefined) return undefined;
  const type = bytes.readUInt16BE(nameEnd);
  const opt = records.find(record => record.section === 'additional' && record.type === TYPE.OPT);
  const rcode = (flags & 15) | ((opt === undefined ? 0 : bytes[opt.ttlAt]!) << 4);
  const isTruncated = (flags & FLAG.truncated) !== 0;
  return { id: bytes.readUInt16BE(0), flags, rcode, isTruncated, nameEnd, type, records };
}

function recordsOf(bytes: Buffer, from: number): RawRecord[] | undefined {
  const records: RawRecord[] = [];
  let at = from;
  for (const [i, section] of (['answer', 'authority', 'additional'] as const).entries()) {
    for (let count = bytes.readUInt16BE(6 + 2 * i); count > 0; count -= 1) {
      const record = recordAt(bytes, at, section);
      if (record === undefined) return undefined;
      records.push(record);
      at = record.end;
    }
  }
  return records;
}

function recordAt(bytes: Buffer, at: number, section: Section): RawRecord | undefined {
  const fixed = endOfOwner(bytes, at);
  if (fixed === undefined || fixed + 10 > bytes.length) return undefined;
  const dataAt = fixed + 10;
  const end = dataAt + bytes.readUInt16BE(fixed + 8);
  if (end > bytes.length) return undefined;
  const ttl = bytes.readUInt32BE(fixed + 4);
  const type = bytes.readUInt16BE(fixed);
  return { section, at, type, class: bytes.readUInt16BE(fixed + 2), ttl, ttlAt: fixed + 4, dataAt, end };
}

/** RFC 2181 §8: one with the highest bit set is 0. */
export function saneTtl(ttl: number): number {
  return ttl > 0x7fffffff ? 0 : ttl;
}

/** A name without its pointers, with the root label; undefined where they lead nowhere. */
export function expandedName(bytes: Buffer, from: number): Buffer | undefined {
  const parts: Buffer[] = [];
  let size = 1;
  let at = from;
  for (let pointers = 0; pointers <= MOST_POINTERS; ) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return Buffer.concat([...parts, Buffer.of(0)]);
    if (length >= POINTER_BITS) {
      const to = at + 1 < bytes.length ? bytes.readUInt16BE(at) & 0x3fff : at;
      if (to >= at) return undefined;
      at = to;
      pointers += 1;
      continue;
    }
    size += length + 1;
    if (length > MOST_LABEL_BYTES || size > MOST_NAME_BYTES || at + 1 + length > bytes.length) return undefined;
    parts.push(bytes.subarray(at, at + 1 + length));
    at += length + 1;
  }
  return undefined;
}

/** How many names the data of a type begins with, behind so many bytes: those that may hold pointers (RFC 1035 §3.3, RFC 3597 §4). */
const NAMES_IN_DATA: Readonly<Record<number, readonly [before: number, names: number]>> = {
  [TYPE.NS]: [0, 1],
  [TYPE.CNAME]: [0, 1],
  [TYPE.SOA]: [0, 2],
  [TYPE.PTR]: [0, 1],
  15: [2, 1], // MX
  [TYPE.SRV]: [6, 1],
};

/** A record's data with its names expanded; undefined where one of them leads nowhere. */
export function expandedData(bytes: Buffer, { type, dataAt, end }: RawRecord): Buffer | undefined {
  const [before, names] = NAMES_IN_DATA[type] ?? [0, 0];
  if (names === 0) return bytes.subarray(dataAt, end);
  if (dataAt + before > end) return undefined;
  const parts = [bytes.subarray(dataAt, dataAt + before)];
  let at = dataAt + before;
  for (let count = 0; count < names; count += 1) {
    const [name, next] = [expandedName(bytes, at), endOfOwner(bytes, at)];
    if (name === undefined || next === undefined || next > end) return undefined;
    parts.push(name);
    at = next;
  }
  return Buffer.concat([...parts, bytes.subarray(at, end)]);
}
