/** An upstream server's answer as it goes to who asked. Pure. */
import { RCODE, type Rcode, TYPE } from '../records.ts';
import { Reply } from '../reply.ts';
import type { Message, RawRecord } from '../wire/message.ts';
import { FLAG, HEADER_BYTES, type Query } from '../wire/query.ts';
import type { Echo, Turn } from '../wire/response.ts';

/** @param from see Reply; the bytes are the caller's own, and are changed */
export function relayed(
  { flags, edns }: Query,
  { bytes, message }: { readonly bytes: Buffer; readonly message: Message },
  from: number,
): Reply {
  // Whether it was validated is told who asked for that.
  const asksForAd = edns?.isDnssecOk === true || (flags & FLAG.authenticData) !== 0;
  const kept = message.flags & (FLAG.truncated | (asksForAd ? FLAG.authenticData : 0));
  bytes.writeUInt16BE(FLAG.response | FLAG.recursionAvailable | kept | rcodeForClient(message.rcode), 2);
  const echoes = echoesOf(bytes, message);
  return new Reply({ bytes, turn: turnOf(bytes, message.records), serialAt: 0, echoes }, from);
}

/** The question's name where it is written out once more: with the client's letters too. */
function echoesOf(bytes: Buffer, { nameEnd, records }: Message): readonly Echo[] {
  const length = nameEnd - HEADER_BYTES;
  const lowerAt = (at: number) => bytes.toString('latin1', at, at + length).toLowerCase();
  const asked = lowerAt(HEADER_BYTES);
  return records.flatMap(({ at }) => (lowerAt(at) === asked ? [{ at, from: HEADER_BYTES, length }] : []));
}

/** What a client is told where servers said something that isn't his business. */
function rcodeForClient(rcode: number): Rcode {
  if (rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN || rcode === RCODE.REFUSED) return rcode;
  return RCODE.SERVFAIL;
}

/** Addresses at the end of the answer, which stand one behind the other and are of the same size: one name's. */
function turnOf(bytes: Buffer, records: readonly RawRecord[]): Turn | undefined {
  const isAddress = ({ section, type }: RawRecord) => section === 'answer' && (type === TYPE.A || type === TYPE.AAAA);
  const addresses = records.filter(isAddress);
  const [first] = addresses;
  if (first === undefined || addresses.length < 2) return undefined;
  const size = first.end - first.at;
  // Type and owner too: of equal size, and up to their data the same.
  const head = bytes.subarray(first.at, first.dataAt - 6);
  const isLike = ({ at, end }: RawRecord, i: number) =>
    at === first.at + i * size && end === at + size && bytes.subarray(at, at + head.length).equals(head);
  return addresses.every(isLike) ? { at: first.at, size, count: addresses.length } : undefined;
}
