/** An upstream server's answer as it goes to who asked. Pure. */
import { TYPE } from '../records.ts';
import type { Message } from '../wire/message.ts';
import { optBytes, writeOpt } from '../wire/opt.ts';
import { FLAG, HEADER_BYTES, type Query } from '../wire/query.ts';

/**
 * With his id and his letters in the question, with OPT if he had one (the server's was about us and him), and not more than `limit` bytes: what has no
 * room is left out, and the answer says so.
 */
export function relay(
  question: Buffer,
  query: Query,
  { bytes, message }: { readonly bytes: Buffer; readonly message: Message },
  limit: number,
): Buffer {
  const opt = optBytes(query.edns);
  // What follows OPT is a signature of the message as it was (TSIG), if anything.
  const own = message.records.findIndex(({ type }) => type === TYPE.OPT);
  const records = own === -1 ? message.records : message.records.slice(0, own);
  const fitting = records.filter(({ end }) => end + opt <= limit);
  const end = fitting.at(-1)?.end ?? message.nameEnd + 4;
  const out = Buffer.alloc(end + opt);
  bytes.copy(out, 0, 0, end);
  question.copy(out, HEADER_BYTES, HEADER_BYTES, message.nameEnd);
  const count = (section: string) => fitting.filter(record => record.section === section).length;
  const isCut = records.some(({ section, end: last }) => section !== 'additional' && last > end);
  const kept = message.flags & (FLAG.response | FLAG.authoritative | FLAG.truncated | FLAG.recursionAvailable | 0x000f);
  out.writeUInt16BE(query.id, 0);
  out.writeUInt16BE(
    kept | (query.flags & (FLAG.recursionDesired | FLAG.checkingDisabled)) | (isCut ? FLAG.truncated : 0),
    2,
  );
  out.writeUInt16BE(count('answer'), 6);
  out.writeUInt16BE(count('authority'), 8);
  out.writeUInt16BE(count('additional') + (opt === 0 ? 0 : 1), 10);
  if (query.edns !== undefined) writeOpt(out.subarray(end), query.edns, message.rcode);
  return out;
}
