/** Requests about queues: a token bucket, and a redirection of what comes in. Pure. Source: include/uapi/linux/{pkt_sched,pkt_cls}.h, linux/tc_act/tc_mirred.h. */
import { endianness } from 'node:os';
import { type Attribute, FLAG, type RouteRequest, text, u16, u32, u64 } from './encoding.ts';

const [RTM_NEWQDISC, RTM_NEWTFILTER] = [36, 44];
const [ROOT, INGRESS, INGRESS_HANDLE] = [0xffff_ffff, 0xffff_fff1, 0xffff_0000];
const TCA = { kind: 1, options: 2 } as const;
const TBF = { parms: 1, rate64: 4, burst: 6 } as const;
const U32 = { classid: 1, sel: 5, act: 7 } as const;
const [ACT_KIND, ACT_OPTIONS, MIRRED_PARMS] = [1, 2, 2];
const TC_LINKLAYER_ETHERNET = 1;
const TC_U32_TERMINAL = 1;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
/** ETH_P_ALL in network byte order in the lower half of a number, the priority in the upper. */
const EVERY_PROTOCOL = endianness() === 'LE' ? [Buffer.of(0, 3), u16(1)] : [u16(1), Buffer.of(0, 3)];
const MOST = 0xffff_ffff;

/** tcmsg */
const head = (index: number, handle: number, parent: number, info: Uint8Array = u32(0)) =>
  Buffer.concat([Buffer.alloc(4), u32(index), u32(handle), u32(parent), info]);

export interface TokenBucket {
  /** Bytes a second. */
  readonly rate: number;
  /** Bytes. */
  readonly burst: number;
  /** Bytes that may wait. */
  readonly limit: number;
}

/** Limits what leaves by a link. */
export function newTokenBucket(index: number, { rate, burst, limit }: TokenBucket): RouteRequest {
  const none = Buffer.alloc(12);
  const spec = Buffer.concat([Buffer.of(0, TC_LINKLAYER_ETHERNET), u16(0), u16(0), u16(0), u32(Math.min(rate, MOST))]);
  const options: Attribute[] = [
    [TBF.parms, Buffer.concat([spec, none, u32(Math.min(limit, MOST)), u32(0), u32(0)])],
    [TBF.burst, u32(Math.min(burst, MOST))],
  ];
  if (rate > MOST) options.push([TBF.rate64, u64(rate)]);
  return {
    op: `limit to ${rate} bytes a second`,
    type: RTM_NEWQDISC,
    flags: FLAG.create | FLAG.replace,
    head: head(index, 0x0001_0000, ROOT),
    attributes: [
      [TCA.kind, text('tbf')],
      [TCA.options, options],
    ],
  };
}

/** What comes in by a link goes to another's queue, and on from there. */
export function redirectIncoming(index: number, target: number): readonly RouteRequest[] {
  const ingress: RouteRequest = {
    op: 'look at what comes in',
    type: RTM_NEWQDISC,
    flags: FLAG.create | FLAG.exclusive,
    head: head(index, INGRESS_HANDLE, INGRESS),
    attributes: [[TCA.kind, text('ingress')]],
  };
  const everything = Buffer.alloc(16 + 16);
  everything[0] = TC_U32_TERMINAL;
  everything[2] = 1; // one key, whose mask is 0
  const redirection = [u32(0), u32(0), u32(TC_ACT_STOLEN), u32(0), u32(0), u32(TCA_EGRESS_REDIR), u32(target)];
  const action: readonly Attribute[] = [
    [ACT_KIND, text('mirred')],
    [ACT_OPTIONS, [[MIRRED_PARMS, Buffer.concat(redirection)]]],
  ];
  const filter: RouteRequest = {
    op: 'redirect what comes in',
    type: RTM_NEWTFILTER,
    flags: FLAG.create | FLAG.exclusive,
    head: head(index, 0, INGRESS_HANDLE, Buffer.concat(EVERY_PROTOCOL)),
    attributes: [
      [TCA.kind, text('u32')],
      [
        TCA.options,
        [
          [U32.classid, u32(0x0001_0001)],
          [U32.act, [[1, action]]],
          [U32.sel, everything],
        ],
      ],
    ],
  };
  return [ingress, filter];
}
