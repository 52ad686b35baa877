/** The OPT record of answers (RFC 6891 §6.1). */
import { TYPE } from '../records.ts';
import type { Edns } from './query.ts';

const OPT_BYTES = 11;

/** How many bytes it takes: none where the question had none. */
export function optBytes(edns: Edns | undefined): number {
  return edns === undefined ? 0 : OPT_BYTES;
}

/** Writes the record to `out` from `at` on; the asker's own size comes back, as CoreDNS does it. */
export function writeOpt(out: Buffer, at: number, { udpBytes, isDnssecOk }: Edns, rcode: number): void {
  for (let i = at; i < at + OPT_BYTES; i += 1) out[i] = 0;
  out[at + 2] = TYPE.OPT;
  out[at + 3] = udpBytes >> 8;
  out[at + 4] = udpBytes & 255;
  out[at + 5] = rcode >> 4;
  if (isDnssecOk) out[at + 7] = 0x80;
}
