/** Requests about addresses, neighbours and routes, and what the kernel tells of them. Pure. Source: include/uapi/linux/{if_addr,rtnetlink,neighbour}.h. */
import { addressText } from '../net/address-bytes.ts';
import { formatIPv4 } from '../net/ip.ts';
import { attributesIn, type Message, native16, readHostWord } from '../netfilter/attributes.ts';
import {
  AF,
  type Attribute,
  FLAG,
  familyNumber,
  HEADER,
  ipAttribute,
  macBytes,
  type RouteRequest,
  splitPrefix,
  u16,
  u32,
} from './encoding.ts';

const [RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR] = [20, 21, 22];
const [RTM_NEWROUTE, RTM_GETROUTE] = [24, 26];
const RTM_NEWNEIGH = 28;
const ADDRESS_HEADER = 8;
const ROUTE_HEADER = 12;
const IFA = { address: 1, local: 2, broadcast: 4, flags: 8, protocol: 11 } as const;
const [IFA_F_NODAD, IFA_F_TENTATIVE] = [0x02, 0x40];
const RTA = { dst: 1, oif: 4, gateway: 5, priority: 6, metrics: 8, multipath: 9, table: 15 } as const;
const RTAX = { mtu: 2, advmss: 8 } as const;
const NDA = { dst: 1, lladdr: 2 } as const;
const NUD_REACHABLE = 2;
const RT_TABLE_MAIN = 254;
export const SCOPE_LINK = 253;
const RTPROT_BOOT = 3;
const [RTN_UNICAST, RTN_LOCAL] = [1, 2];
const RTNH_F_ONLINK = 4;
/** rtnexthop */
const NEXT_HOP_HEADER = 8;
const [ENOENT, EEXIST, EADDRNOTAVAIL, ENETUNREACH] = [2, 17, 99, 101];

const addressHead = (family: number, length: number, index: number) =>
  Buffer.concat([Buffer.of(family, length, 0, 0), u32(index)]);

/** `cidr` 10.88.0.2/24; usable at once, without a search for somebody else who has it (NODAD) unless `dad`. */
export function newAddress(index: number, cidr: string, { dad = false, protocol = 0 } = {}): RouteRequest {
  const { ip, length } = splitPrefix(cidr);
  const attributes: Attribute[] = [ipAttribute(IFA.local, ip), ipAttribute(IFA.address, ip)];
  if (!ip.includes(':') && length < 31) attributes.push(ipAttribute(IFA.broadcast, broadcastOf(ip, length)));
  if (!dad) attributes.push([IFA.flags, u32(IFA_F_NODAD)]);
  if (protocol !== 0) attributes.push([IFA.protocol, Buffer.of(protocol)]);
  const head = addressHead(familyNumber(ip), length, index);
  return { op: `add the address ${cidr}`, type: RTM_NEWADDR, flags: FLAG.create | FLAG.exclusive, head, attributes };
}

function broadcastOf(ip: string, length: number): string {
  const bits = ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return formatIPv4((bits | (0xffff_ffff >>> length)) >>> 0);
}

export function deleteAddress(index: number, cidr: string): RouteRequest {
  const { ip, length } = splitPrefix(cidr);
  const attributes = [ipAttribute(IFA.local, ip), ipAttribute(IFA.address, ip)];
  const head = addressHead(familyNumber(ip), length, index);
  return { op: `remove the address ${cidr}`, type: RTM_DELADDR, flags: 0, head, attributes, fine: [EADDRNOTAVAIL] };
}

/** Of one link. */
export function dumpAddresses(index: number): RouteRequest {
  return {
    op: 'list the addresses',
    type: RTM_GETADDR,
    flags: FLAG.dump,
    head: addressHead(0, 0, index),
    attributes: [],
  };
}

export interface Address {
  readonly index: number;
  /** Canonical: 10.88.0.2 */
  readonly ip: string;
  readonly length: number;
  readonly isTentative: boolean;
  /** Who gave it, as that one said; 0: nobody did, or a kernel before 5.18, which doesn't keep it. */
  readonly protocol: number;
}

/** undefined for a message of something else. */
export function readAddress({ type, bytes }: Message): Address | undefined {
  if (type !== RTM_NEWADDR) return undefined;
  const parts = attributesIn(bytes.subarray(HEADER + ADDRESS_HEADER));
  const address = parts.get(IFA.local) ?? parts.get(IFA.address);
  if (address === undefined) return undefined;
  const flags = parts.get(IFA.flags);
  return {
    index: readHostWord(bytes, HEADER + 4),
    ip: addressText(address),
    length: bytes[HEADER + 1]!,
    isTentative: ((flags === undefined ? bytes[HEADER + 2]! : readHostWord(flags)) & IFA_F_TENTATIVE) !== 0,
    protocol: parts.get(IFA.protocol)?.[0] ?? 0,
  };
}

/** Corrects what is known of a neighbour; no entry is made where there is none. */
export function refreshNeighbour(index: number, ip: string, mac: string): RouteRequest {
  const head = Buffer.concat([Buffer.of(familyNumber(ip), 0, 0, 0), u32(index), u16(NUD_REACHABLE), Buffer.of(0, 0)]);
  const attributes: readonly Attribute[] = [ipAttribute(NDA.dst, ip), [NDA.lladdr, macBytes(mac)]];
  return { op: `refresh ${ip}`, type: RTM_NEWNEIGH, flags: FLAG.replace, head, attributes, fine: [ENOENT] };
}

export interface RouteSpec {
  /** Canonical; 0.0.0.0/0 and ::/0 are the default route. */
  readonly dst: string;
  readonly gw?: string | undefined;
  /** The gateway is in no prefix of the link's. */
  readonly isOnlink?: boolean;
  readonly mtu?: number | undefined;
  readonly advmss?: number | undefined;
  readonly priority?: number | undefined;
  readonly table?: number | undefined;
  readonly scope?: number | undefined;
}

/** Beside others to the same destination: of IPv4 the last one that was made counts, of IPv6 all do. One that is there already is fine. */
export function newRoute(index: number, route: RouteSpec): RouteRequest {
  const { dst, gw, isOnlink = false, mtu, advmss, priority, table = RT_TABLE_MAIN } = route;
  const { ip, length } = splitPrefix(dst);
  const scope = route.scope ?? (gw === undefined && !ip.includes(':') ? SCOPE_LINK : 0);
  const metrics: Attribute[] = [];
  if (mtu !== undefined) metrics.push([RTAX.mtu, u32(mtu)]);
  if (advmss !== undefined) metrics.push([RTAX.advmss, u32(advmss)]);
  const attributes: Attribute[] = [
    [RTA.oif, u32(index)],
    [RTA.table, u32(table)],
  ];
  if (length > 0) attributes.push(ipAttribute(RTA.dst, ip));
  if (gw !== undefined) attributes.push(ipAttribute(RTA.gateway, gw));
  if (priority !== undefined) attributes.push([RTA.priority, u32(priority)]);
  if (metrics.length > 0) attributes.push([RTA.metrics, metrics]);
  return {
    op: `add the route ${dst}${gw === undefined ? '' : ` via ${gw}`}`,
    type: RTM_NEWROUTE,
    flags: FLAG.create,
    head: Buffer.concat([
      Buffer.of(familyNumber(ip), length, 0, 0, table < 256 ? table : 0, RTPROT_BOOT, scope, RTN_UNICAST),
      u32(isOnlink ? RTNH_F_ONLINK : 0),
    ]),
    attributes,
    fine: [EEXIST],
  };
}

/** How a packet to an address would go. */
export function lookUpRoute(ip: string): RouteRequest {
  const head = Buffer.alloc(ROUTE_HEADER);
  head.set([familyNumber(ip), ip.includes(':') ? 128 : 32]);
  const attributes = [ipAttribute(RTA.dst, ip)];
  return { op: `look up the route to ${ip}`, type: RTM_GETROUTE, flags: 0, head, attributes, fine: [ENETUNREACH] };
}

/** The answer: the address is one of the namespace's own. */
export function isLocalRoute({ type, bytes }: Message): boolean {
  return type === RTM_NEWROUTE && bytes[HEADER + 7] === RTN_LOCAL;
}

/** Of every table of a family. */
export function dumpRoutes(family: typeof AF.inet | typeof AF.inet6): RouteRequest {
  const head = Buffer.alloc(ROUTE_HEADER);
  head[0] = family;
  return { op: 'list the routes', type: RTM_GETROUTE, flags: FLAG.dump, head, attributes: [] };
}

export interface Route {
  readonly dst: string;
  readonly gw: string | undefined;
  /** Of the link that it leaves by. */
  readonly index: number;
  readonly table: number;
  readonly priority: number;
}

/** One for each gateway; nothing for a message of something else. */
export function readRoutes({ type, bytes }: Message): readonly Route[] {
  if (type !== RTM_NEWROUTE) return [];
  const parts = attributesIn(bytes.subarray(HEADER + ROUTE_HEADER));
  const dst = parts.get(RTA.dst);
  const any = bytes[HEADER] === AF.inet6 ? '::' : '0.0.0.0';
  const shared = {
    dst: `${dst === undefined ? any : addressText(dst)}/${bytes[HEADER + 1]}`,
    table: wordOf(parts, RTA.table),
    priority: wordOf(parts, RTA.priority),
  };
  const several = parts.get(RTA.multipath);
  const hops = several === undefined ? [{ index: wordOf(parts, RTA.oif), parts }] : nextHopsIn(several);
  return hops.map(({ index, parts: own }) => {
    const gateway = own.get(RTA.gateway);
    return { ...shared, gw: gateway === undefined ? undefined : addressText(gateway), index };
  });
}

function wordOf(parts: ReadonlyMap<number, Buffer>, attribute: number): number {
  const value = parts.get(attribute);
  return value === undefined ? 0 : readHostWord(value);
}

interface NextHop {
  readonly index: number;
  readonly parts: ReadonlyMap<number, Buffer>;
}

function nextHopsIn(payload: Buffer): readonly NextHop[] {
  const hops: NextHop[] = [];
  for (let at = 0; at + NEXT_HOP_HEADER <= payload.length; ) {
    const length = native16(payload, at);
    if (length < NEXT_HOP_HEADER) break;
    hops.push({
      index: readHostWord(payload, at + 4),
      parts: attributesIn(payload.subarray(at + NEXT_HOP_HEADER, at + length)),
    });
    at += (length + 3) & ~3;
  }
  return hops;
}
