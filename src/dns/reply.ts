/** An answer as bytes that are kept, and as it goes out to one who asked. */
import type { Answer } from './records.ts';
import { optBytes, writeOpt } from './wire/opt.ts';
import { endOfOwner, FLAG, HEADER_BYTES, type Query } from './wire/query.ts';
import { type Echo, type Encoded, encode, type Turn } from './wire/response.ts';

export interface Place {
  readonly source: Buffer;
  readonly at: number;
}

/** Where a reply's bytes are, and whose turn it is. The bytes may be a part of a larger store. */
export class Reply {
  readonly source: Buffer;
  readonly at: number;
  readonly length: number;
  readonly turn: Turn | undefined;
  readonly serialAt: number;
  readonly echoes: readonly Echo[];
  /** The address that comes first next time. */
  turned: number;

  /** @param from a number that is another one each time: rebuilt replies shall not all begin with the same address */
  constructor({ bytes, turn, serialAt, echoes }: Encoded, from: number, place: Place = { source: bytes, at: 0 }) {
    this.source = place.source;
    this.at = place.at;
    this.length = bytes.length;
    this.turn = turn;
    this.serialAt = serialAt;
    this.echoes = echoes;
    this.turned = turn === undefined ? 0 : from % turn.count;
  }
}

/** @param wire the question's name, lower case */
export function encodedAnswer(
  wire: Buffer,
  { type, zone, isAuthoritative = true, isTruncated = false }: ReplyAbout,
  answer: Answer,
): Encoded {
  const flags =
    FLAG.response |
    (isAuthoritative ? FLAG.authoritative : FLAG.recursionAvailable) |
    (isTruncated ? FLAG.truncated : 0);
  return encode(wire, { type, zone, flags }, answer);
}

export interface ReplyAbout {
  readonly type: number;
  readonly zone: string;
  readonly isAuthoritative?: boolean;
  readonly isTruncated?: boolean;
}

/**
 * The reply as it goes to who asked: his id and letters, the next address first, OPT if he had one, not more than `limit` bytes. What has no room is left
 * out from the end on; where that isn't additional only, the reply says that it is truncated (RFC 2181 §9). @param serial of our zones now
 */
export function finish(
  message: Buffer,
  query: Query,
  reply: Reply,
  { limit, serial }: { readonly limit: number; readonly serial: number },
): Buffer {
  const opt = optBytes(query.edns);
  const cut = reply.length + opt > limit ? cutOf(reply, query.nameEnd + 4, limit - opt) : undefined;
  const end = cut?.end ?? reply.length;
  const out = Buffer.allocUnsafe(end + opt);
  copyTurned(reply, out, end);
  message.copy(out, HEADER_BYTES, HEADER_BYTES, query.nameEnd);
  const { echoes, serialAt } = reply;
  for (const { at, from, length } of echoes) if (at < end) message.copy(out, at, from, from + length);
  if (serialAt !== 0 && serialAt < end) out.writeUInt32BE(serial, serialAt);
  out[0] = message[0]!;
  out[1] = message[1]!;
  out[2] = out[2]! | (message[2]! & (FLAG.recursionDesired >> 8));
  out[3] = out[3]! | (message[3]! & FLAG.checkingDisabled);
  if (cut !== undefined) writeCut(out, cut);
  if (query.edns === undefined) return out;
  writeOpt(out, end, query.edns, out[3]! & 15);
  const additional = (out[10]! << 8) + out[11]! + 1;
  out[10] = additional >> 8;
  out[11] = additional & 255;
  return out;
}

interface Cut {
  readonly end: number;
  /** Records of each section that are left. */
  readonly counts: readonly number[];
  readonly isTruncated: boolean;
}

/** How much of the reply fits into so many bytes. */
function cutOf({ source, at, length }: Reply, from: number, limit: number): Cut {
  const bytes = source.subarray(at, at + length);
  let end = from;
  let isFull = false;
  const all = [6, 8, 10].map(countAt => bytes.readUInt16BE(countAt));
  const counts = all.map(count => {
    for (let kept = 0; kept < count; kept += 1) {
      const next = endOfRecord(bytes, end);
      isFull ||= next > limit;
      if (isFull) return kept;
      end = next;
    }
    return count;
  });
  return { end, counts, isTruncated: counts[0]! < all[0]! || counts[1]! < all[1]! };
}

/** Of our own bytes, which are well-formed. */
function endOfRecord(bytes: Buffer, at: number): number {
  const fixed = endOfOwner(bytes, at) ?? bytes.length - 10;
  return fixed + 10 + bytes.readUInt16BE(fixed + 8);
}

function writeCut(out: Buffer, { counts, isTruncated }: Cut): void {
  for (const [i, count] of counts.entries()) out.writeUInt16BE(count, 6 + 2 * i);
  if (isTruncated) out[2] = out[2]! | (FLAG.truncated >> 8);
}

/** The first `end` bytes, of which the addresses begin with the one whose turn it is. */
function copyTurned(reply: Reply, out: Buffer, end: number): void {
  const { source, at, turn } = reply;
  source.copy(out, 0, at, at + end);
  if (turn === undefined) return;
  const { turned } = reply;
  reply.turned = turned + 1 === turn.count ? 0 : turned + 1;
  if (turned === 0 || end <= turn.at) return;
  const first = at + turn.at;
  const split = first + turned * turn.size;
  const room = Math.min(end - turn.at, turn.size * turn.count);
  const head = Math.min(room, (turn.count - turned) * turn.size);
  source.copy(out, turn.at, split, split + head);
  source.copy(out, turn.at + head, first, first + room - head);
}

/** A header alone, or with the question where there is one, and an error. Never longer than what was asked, but for OPT. */
export function refuse(message: Buffer, query: Query, rcode: number): Buffer {
  const hasQuestion = query.nameEnd > HEADER_BYTES;
  const end = hasQuestion ? query.nameEnd + 4 : HEADER_BYTES;
  const out = Buffer.alloc(end + optBytes(query.edns));
  message.copy(out, 0, 0, end);
  const echoed = query.flags & (FLAG.recursionDesired | FLAG.checkingDisabled | FLAG.opcode);
  out.writeUInt16BE(FLAG.response | echoed | (rcode & 15), 2);
  out.writeUInt16BE(hasQuestion ? 1 : 0, 4);
  out.writeUInt32BE(0, 6);
  out.writeUInt16BE(query.edns === undefined ? 0 : 1, 10);
  if (query.edns !== undefined) writeOpt(out, end, query.edns, rcode);
  return out;
}
