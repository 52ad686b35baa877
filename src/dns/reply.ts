/** Answers questions about our zones: from the zone, or from the bytes that the same question was answered with before. */
import type { Answer } from './records.ts';
import { nameText } from './wire/names.ts';
import { optBytes, writeOpt } from './wire/opt.ts';
import { FLAG, HEADER_BYTES, lowerName, type Query } from './wire/query.ts';
import { type Encoded, encode } from './wire/response.ts';
import type { Zone } from './zone/zone.ts';

export interface Reply {
  readonly encoded: Encoded;
  readonly rcode: number;
  readonly isAuthoritative: boolean;
}

/** The zone that a name is in: the longest. */
export function zoneOf(zones: readonly Zone[], name: string): Zone | undefined {
  let found: Zone | undefined;
  for (const zone of zones) {
    const isIn = name === zone.name || name.endsWith(`.${zone.name}`);
    if (isIn && zone.name.length >= (found?.name.length ?? 0)) found = zone;
  }
  return found;
}

/** Its question's name, lower case. */
export function questionName(bytes: Buffer, query: Query): { readonly wire: Buffer; readonly text: string } {
  const wire = Buffer.alloc(query.nameEnd - HEADER_BYTES);
  lowerName(bytes, query.nameEnd, wire);
  return { wire, text: nameText(wire) };
}

/** @param wire the question's name */
export function replyOf(
  wire: Buffer,
  question: { readonly type: number; readonly zone: string },
  answer: Answer,
): Reply {
  return { encoded: encode(wire, question, answer), rcode: answer.rcode, isAuthoritative: true };
}

/**
 * The reply as it goes to who asked: his id and letters, OPT if he had one, not more than `limit` bytes. What has no room is left out from the end on;
 * where that isn't additional only, the reply says that it is truncated (RFC 2181 §9).
 */
export function finish(bytes: Buffer, query: Query, reply: Reply, limit: number): Buffer {
  const { encoded } = reply;
  const { counts } = encoded;
  const opt = optBytes(query.edns);
  let kept = encoded.records.length;
  while (kept > 0 && endOf(encoded, kept) + opt > limit) kept -= 1;
  const end = endOf(encoded, kept);
  const out = Buffer.alloc(end + opt);
  encoded.bytes.copy(out, 0, 0, end);
  bytes.copy(out, HEADER_BYTES, HEADER_BYTES, query.nameEnd);
  for (const { at, from, length } of encoded.echoes) if (at < end) bytes.copy(out, at, from, from + length);
  const answers = Math.min(kept, counts.answers);
  const authority = Math.min(kept - answers, counts.authority);
  writeHeader(out, query, { reply, isCut: answers + authority < counts.answers + counts.authority });
  for (const [i, count] of [answers, authority, kept - answers - authority + (opt === 0 ? 0 : 1)].entries()) {
    out.writeUInt16BE(count, 6 + 2 * i);
  }
  if (query.edns !== undefined) writeOpt(out.subarray(end), query.edns, reply.rcode);
  return out;
}

/** Where the first `kept` records end. */
function endOf({ bytes, records }: Encoded, kept: number): number {
  return records[kept] ?? bytes.length;
}

function writeHeader(
  out: Buffer,
  { id, flags }: Query,
  { reply, isCut }: { readonly reply: Reply; readonly isCut: boolean },
): void {
  const echoed = flags & (FLAG.recursionDesired | FLAG.checkingDisabled | FLAG.opcode);
  const own = (reply.isAuthoritative ? FLAG.authoritative : 0) | (isCut ? FLAG.truncated : 0);
  out.writeUInt16BE(id, 0);
  out.writeUInt16BE(FLAG.response | echoed | own | (reply.rcode & 15), 2);
}

/** A header alone, or with the question where there is one, and an error. */
export function refuse(bytes: Buffer, query: Query, rcode: number): Buffer {
  const hasQuestion = query.nameEnd > HEADER_BYTES;
  const end = hasQuestion ? query.nameEnd + 4 : HEADER_BYTES;
  const opt = optBytes(query.edns);
  const out = Buffer.alloc(end + opt);
  bytes.copy(out, HEADER_BYTES, HEADER_BYTES, end);
  const echoed = query.flags & (FLAG.recursionDesired | FLAG.checkingDisabled | FLAG.opcode);
  out.writeUInt16BE(query.id, 0);
  out.writeUInt16BE(FLAG.response | echoed | (rcode & 15), 2);
  out.writeUInt16BE(hasQuestion ? 1 : 0, 4);
  out.writeUInt16BE(opt === 0 ? 0 : 1, 10);
  if (query.edns !== undefined) writeOpt(out.subarray(end), query.edns, rcode);
  return out;
}
