/** The OPT record of answers (RFC 6891 §6.1). */
import { TYPE } from '../records.ts';
import type { Edns } from './query.ts';

const OPT_BYTES = 11;

/** How many bytes it takes: none where the question had none. */
export function optBytes(edns: Edns | undefined): number {
  return edns === undefined ? 0 : OPT_BYTES;
}

/** @param out zeros; the asker's own size comes back, as CoreDNS does it */
export function writeOpt(out: Buffer, { udpBytes, isDnssecOk }: Edns, rcode: number): void {
  out.writeUInt16BE(TYPE.OPT, 1);
  out.writeUInt16BE(udpBytes, 3);
  out[5] = rcode >> 4;
  out[7] = isDnssecOk ? 0x80 : 0;
}
