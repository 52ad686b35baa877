/** What DNS answers are made of, before they become bytes. Names are without the closing dot; '' is the root. */

/** RFC 1035 §3.2.2, RFC 3596 (AAAA), RFC 2782 (SRV), RFC 6891 (OPT), RFC 9460 (HTTPS), RFC 4034 and 5155 (DNSSEC), RFC 6672 (DNAME). Only those that are known here; questions may have any number. */
export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  RRSIG: 46,
  NSEC: 47,
  NSEC3: 50,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

/** RFC 1035 §4.1.1, RFC 6891 §9 (BADVERS, of which the header holds the lower four bits). */
export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

export type RecordData =
  | { readonly type: typeof TYPE.A | typeof TYPE.AAAA; readonly ip: string }
  | { readonly type: typeof TYPE.NS | typeof TYPE.CNAME | typeof TYPE.PTR; readonly target: string }
  | { readonly type: typeof TYPE.TXT; readonly text: string }
  | {
      readonly type: typeof TYPE.SRV;
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  | {
      readonly type: typeof TYPE.SOA;
      readonly primary: string;
      readonly mailbox: string;
      readonly serial: number;
      readonly refresh: number;
      readonly retry: number;
      readonly expire: number;
      readonly minimum: number;
    };

/** Of any type: what an upstream server said, its names expanded. */
export interface RawData {
  readonly type: number;
  readonly raw: Buffer;
}

export type DnsRecord = { readonly name: string; readonly ttl: number } & (RecordData | RawData);

export interface Answer {
  readonly rcode: Rcode;
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
  readonly additional: readonly DnsRecord[];
}
