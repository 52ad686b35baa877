/**
 * Messages of ctnetlink, questions and entries of the kernel's connection table; addresses, ports and numbers are in network byte order. Constants:
 * include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack}.h; what the filter's bits mean: net/netfilter/nf_conntrack_netlink.c only.
 */
import { formatIPv4, formatIPv6, type IPFamily } from '../net/ip.ts';
import { FAMILY, Writer } from './conntrack-writer.ts';
import { HEADER, nativeReaders, PAYLOAD } from './nfnetlink.ts';

/** Subsystem NFNL_SUBSYS_CTNETLINK, then the message. */
const CT_NEW = 1 << 8;
const CT_GET = (1 << 8) | 1;
const CT_DELETE = (1 << 8) | 2;
const NLM_F_ACK = 4;
/** NLM_F_CREATE and NLM_F_EXCL. */
const NLM_F_NEW = 0x600;
const NLM_F_DUMP = 0x300;
const NLA_TYPE = 0x3fff;

const CTA = { original: 1, reply: 2, status: 3, timeout: 7, id: 12, zone: 18, filter: 25 };
const CTA_TUPLE = { ip: 1, proto: 2, zone: 3 };
const CTA_IP = { IPv4: { source: 1, destination: 2 }, IPv6: { source: 3, destination: 4 } };
const CTA_PROTO = { number: 1, sourcePort: 2, destinationPort: 3 };
const CTA_PROTO_ICMP = { IPv4: { id: 4, type: 5, code: 6 }, IPv6: { id: 7, type: 8, code: 9 } };
const CTA_FILTER = { original: 1, reply: 2 };
/** Which parts of a tuple a dump compares. */
const FILTER_BIT = { destination: 1 << 1, protocol: 1 << 3, sourcePort: 1 << 4, destinationPort: 1 << 5 };

export const UDP = 17;

/** One direction of an entry, as the kernel sees packets of it. */
export interface Tuple {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Of ICMP and ICMPv6 instead of ports, which are 0. */
  readonly icmp?: Icmp;
  /** Of this direction alone (`CT --zone-orig`); 0 = none. */
  readonly zone: number;
}

interface Icmp {
  readonly id: number;
  readonly type: number;
  readonly code: number;
}

/** An entry of the connection table. */
export interface Flow {
  readonly family: IPFamily;
  /** Tells it from a later entry with the same tuples. */
  readonly id: number;
  /** Of both directions; 0 = none. */
  readonly zone: number;
  /** IPS_* bits. */
  readonly status: number;
  readonly original: Tuple;
  readonly reply: Tuple;
}

/** Which entries a dump is about: compared with the original direction. */
export type FlowFilter = FamilyFilter | EveryFlow;

/** Entries of both families in one walk, which costs as much as one of them. */
export interface EveryFlow {
  readonly family: 'both';
  readonly protocol?: undefined;
}

export interface FamilyFilter {
  readonly family: IPFamily;
  /** Absent = all, whatever the other fields say. */
  readonly protocol?: number;
  readonly destination?: string;
  readonly destinationPort?: number;
  /** Of the one that answers. */
  readonly replyPort?: number;
}

/** Whether a flow is among those that were asked for: kernels before 5.8 know no filter but the family, and send them all. */
export function isWanted({ family, original, reply }: Flow, filter: FlowFilter): boolean {
  if (filter.family === 'both') return true;
  if (family !== filter.family) return false;
  if (filter.protocol === undefined) return true;
  if (original.protocol !== filter.protocol) return false;
  if (filter.destination !== undefined && original.destination !== filter.destination) return false;
  if (filter.replyPort !== undefined && reply.sourcePort !== filter.replyPort) return false;
  return filter.destinationPort === undefined || original.destinationPort === filter.destinationPort;
}

/**
 * A request for every flow that the filter lets through. Without an IPv6 address: the kernel compares those the wrong way round, and
 * would send all entries but the wanted ones (ctnetlink_filter_match_tuple, up to at least 6.18).
 */
export function encodeDump(filter: FlowFilter): Buffer {
  if (filter.family === 'both')
    return new Writer({ type: CT_GET, flags: NLM_F_DUMP, family: 'both', sequence: 0 }).finish();
  const { family, protocol, destinationPort, replyPort } = filter;
  const destination = family === 'IPv6' ? undefined : filter.destination;
  const writer = new Writer({ type: CT_GET, flags: NLM_F_DUMP, family, sequence: 0 });
  if (protocol === undefined) return writer.finish();
  writer.nest(CTA.original, () => {
    if (destination !== undefined) {
      writer.nest(CTA_TUPLE.ip, () => writer.address(CTA_IP[family].destination, destination, family));
    }
    writer.nest(CTA_TUPLE.proto, () => {
      writer.u8(CTA_PROTO.number, protocol);
      if (destinationPort !== undefined) writer.u16(CTA_PROTO.destinationPort, destinationPort);
    });
  });
  if (replyPort !== undefined) {
    const proto = () => {
      writer.u8(CTA_PROTO.number, protocol);
      writer.u16(CTA_PROTO.sourcePort, replyPort);
    };
    writer.nest(CTA.reply, () => writer.nest(CTA_TUPLE.proto, proto));
  }
  writer.nest(CTA.filter, () => {
    const address = destination === undefined ? 0 : FILTER_BIT.destination;
    const port = destinationPort === undefined ? 0 : FILTER_BIT.destinationPort;
    writer.nativeU32(CTA_FILTER.original, FILTER_BIT.protocol | address | port);
    const reply = replyPort === undefined ? 0 : FILTER_BIT.protocol | FILTER_BIT.sourcePort;
    writer.nativeU32(CTA_FILTER.reply, reply);
  });
  return writer.finish();
}

export interface Request {
  /** What the kernel's answer to this request carries. */
  readonly sequence: number;
  /** Success is answered too; else only a refusal is. */
  readonly isAcknowledged: boolean;
}

/**
 * A request to delete this very entry: never an empty one, which would flush the table, and not one that took the same tuple
 * meanwhile, which has another id.
 */
export function encodeDelete(flow: Flow, { sequence, isAcknowledged }: Request): Buffer {
  const flags = isAcknowledged ? NLM_F_ACK : 0;
  const writer = new Writer({ type: CT_DELETE, flags, family: flow.family, sequence });
  writeTuple(writer, CTA.original, flow.family, flow.original);
  writer.u32(CTA.id, flow.id);
  if (flow.zone !== 0) writer.u16(CTA.zone, flow.zone);
  return writer.finish();
}

/** A request to make an entry, with an id of the kernel's choice. */
export function encodeNew(flow: Flow, timeoutSeconds: number, { sequence, isAcknowledged }: Request): Buffer {
  const flags = NLM_F_NEW | (isAcknowledged ? NLM_F_ACK : 0);
  const writer = new Writer({ type: CT_NEW, flags, family: flow.family, sequence });
  writeTuple(writer, CTA.original, flow.family, flow.original);
  writeTuple(writer, CTA.reply, flow.family, flow.reply);
  writer.u32(CTA.status, flow.status);
  writer.u32(CTA.timeout, timeoutSeconds);
  if (flow.zone !== 0) writer.u16(CTA.zone, flow.zone);
  return writer.finish();
}

/** The entry in a message from `at` to `end`; undefined when it's none, or of another protocol. */
export function decodeFlow(buffer: Buffer, at: number, end: number, protocol?: number): Flow | undefined {
  if (nativeReaders(buffer).u16(at + 4) !== CT_NEW || end < at + PAYLOAD) return undefined;
  const family = buffer[at + HEADER] === FAMILY.IPv6 ? 'IPv6' : 'IPv4';
  let original: Tuple | undefined;
  let reply: Tuple | undefined;
  let [id, zone, status, isOther] = [0, 0, 0, false];
  eachAttribute(buffer, at + PAYLOAD, end, (type, from, to) => {
    if (isOther) return;
    if (type === CTA.original) original = decodeTuple(buffer, { from, to, family, protocol });
    else if (type === CTA.reply) reply = decodeTuple(buffer, { from, to, family, protocol });
    else if (type === CTA.status) status = buffer.readUInt32BE(from);
    else if (type === CTA.id) id = buffer.readUInt32BE(from);
    else if (type === CTA.zone) zone = buffer.readUInt16BE(from);
    isOther = type === CTA.original && original === undefined;
  });
  return original === undefined || reply === undefined ? undefined : { family, id, zone, status, original, reply };
}

interface TupleSpan {
  readonly from: number;
  readonly to: number;
  readonly family: IPFamily;
  /** Of another one, addresses aren't worth decoding; absent = any. */
  readonly protocol: number | undefined;
}

function decodeTuple(buffer: Buffer, { from, to, family, protocol: wanted }: TupleSpan): Tuple | undefined {
  let [source, destination] = [-1, -1];
  let [protocol, sourcePort, destinationPort, zone] = [0, 0, 0, 0];
  let icmp: Icmp | undefined;
  eachAttribute(buffer, from, to, (part, start, stop) => {
    if (part === CTA_TUPLE.zone) zone = buffer.readUInt16BE(start);
    if (part === CTA_TUPLE.ip) {
      eachAttribute(buffer, start, stop, (type, at) => {
        if (type === CTA_IP[family].source) source = at;
        if (type === CTA_IP[family].destination) destination = at;
      });
    }
    if (part === CTA_TUPLE.proto) {
      eachAttribute(buffer, start, stop, (type, at) => {
        if (type === CTA_PROTO.number) protocol = buffer.readUInt8(at);
        if (type === CTA_PROTO.sourcePort) sourcePort = buffer.readUInt16BE(at);
        if (type === CTA_PROTO.destinationPort) destinationPort = buffer.readUInt16BE(at);
      });
      icmp = decodeIcmp(buffer, start, stop, family);
    }
  });
  if ((wanted !== undefined && protocol !== wanted) || source < 0 || destination < 0) return undefined;
  const text = (at: number) => decodeAddress(buffer, at, family);
  const tuple = { source: text(source), destination: text(destination), protocol, sourcePort, destinationPort, zone };
  return icmp === undefined ? tuple : { ...tuple, icmp };
}

function decodeIcmp(buffer: Buffer, from: number, to: number, family: IPFamily): Icmp | undefined {
  const part = CTA_PROTO_ICMP[family];
  let [id, icmpType, code] = [-1, 0, 0];
  eachAttribute(buffer, from, to, (type, at) => {
    if (type === part.id) id = buffer.readUInt16BE(at);
    if (type === part.type) icmpType = buffer.readUInt8(at);
    if (type === part.code) code = buffer.readUInt8(at);
  });
  return id === -1 ? undefined : { id, type: icmpType, code };
}

function writeTuple(writer: Writer, type: number, family: IPFamily, tuple: Tuple): void {
  writer.nest(type, () => {
    writer.nest(CTA_TUPLE.ip, () => {
      writer.address(CTA_IP[family].source, tuple.source, family);
      writer.address(CTA_IP[family].destination, tuple.destination, family);
    });
    writer.nest(CTA_TUPLE.proto, () => {
      writer.u8(CTA_PROTO.number, tuple.protocol);
      if (tuple.icmp !== undefined) {
        const part = CTA_PROTO_ICMP[family];
        writer.u16(part.id, tuple.icmp.id);
        writer.u8(part.type, tuple.icmp.type);
        writer.u8(part.code, tuple.icmp.code);
        return;
      }
      writer.u16(CTA_PROTO.sourcePort, tuple.sourcePort);
      writer.u16(CTA_PROTO.destinationPort, tuple.destinationPort);
    });
    if (tuple.zone !== 0) writer.u16(CTA_TUPLE.zone, tuple.zone);
  });
}

function decodeAddress(buffer: Buffer, at: number, family: IPFamily): string {
  if (family === 'IPv4') return formatIPv4(buffer.readUInt32BE(at));
  return formatIPv6([0, 2, 4, 6, 8, 10, 12, 14].map(offset => buffer.readUInt16BE(at + offset)));
}

/** Calls `visit` for each attribute in the span, with where its value is; a cut one ends it. */
export function eachAttribute(
  buffer: Buffer,
  from: number,
  to: number,
  visit: (type: number, from: number, to: number) => void,
): void {
  const read = nativeReaders(buffer);
  for (let at = from; at + 4 <= to; ) {
    const length = read.u16(at);
    if (length < 4 || at + length > to) return;
    visit(read.u16(at + 2) & NLA_TYPE, at + 4, at + length);
    at += (length + 3) & ~3;
  }
}
