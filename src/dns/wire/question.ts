/** Questions to upstream servers. */
import { TYPE } from '../records.ts';
import { FLAG, HEADER_BYTES } from './query.ts';

const CLASS_IN = 1;
const OPT_BYTES = 11;
/** What we take by UDP; beyond that it may come in pieces (DNS Flag Day 2020). */
const OWN_UDP_BYTES = 1232;
const DNSSEC_OK = 0x80;

/** A question to a resolver, id 0, which wants to hear whether the answer was validated (RFC 6840 §5.7). @param name as bytes, with the root label */
export function questionOf(
  name: Buffer,
  type: number,
  { isDnssecOk, isCheckingDisabled }: { readonly isDnssecOk: boolean; readonly isCheckingDisabled: boolean },
): Buffer {
  const end = HEADER_BYTES + name.length + 4;
  const out = Buffer.alloc(end + OPT_BYTES);
  out.writeUInt16BE(FLAG.recursionDesired | FLAG.authenticData | (isCheckingDisabled ? FLAG.checkingDisabled : 0), 2);
  out.writeUInt16BE(1, 4);
  out.writeUInt16BE(1, 10);
  name.copy(out, HEADER_BYTES);
  out.writeUInt16BE(type, end - 4);
  out.writeUInt16BE(CLASS_IN, end - 2);
  out.writeUInt16BE(TYPE.OPT, end + 1);
  out.writeUInt16BE(OWN_UDP_BYTES, end + 3);
  if (isDnssecOk) out[end + 7] = DNSSEC_OK;
  return out;
}

/** The same for a server that doesn't know EDNS. @param question as `questionOf` made it, or without OPT already */
export function withoutOpt(question: Buffer): Buffer {
  const hasOpt = question.readUInt16BE(10) > 0;
  const out = Buffer.from(question.subarray(0, question.length - (hasOpt ? OPT_BYTES : 0)));
  out.writeUInt16BE(0, 10);
  return out;
}
