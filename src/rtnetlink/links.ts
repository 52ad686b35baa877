/** Requests about links, and what the kernel tells of them. Pure. Source: include/uapi/linux/{if_link,if_bridge,if,veth}.h. */
import { attributesIn, type Message, readHostWord, textOf } from '../netfilter/attributes.ts';
import {
  AF,
  type Attribute,
  FLAG,
  HEADER,
  macBytes,
  macText,
  type RouteRequest,
  text,
  u8,
  u16,
  u32,
} from './encoding.ts';
import { NO_NAMESPACE } from './namespaces.ts';

export const RTM_NEWLINK = 16;
const [RTM_DELLINK, RTM_GETLINK, RTM_SETLINK] = [17, 18, 19];
/** ifinfomsg */
const LINK_HEADER = 16;
const ANY = 0;
export const IFF = { up: 1, promisc: 0x100 } as const;
const IFLA = {
  address: 1,
  ifname: 3,
  mtu: 4,
  link: 5,
  master: 10,
  protinfo: 12,
  linkinfo: 18,
  ifalias: 20,
  afSpec: 26,
  group: 27,
  netNsFd: 28,
  extMask: 29,
  linkNetnsid: 37,
} as const;
const INFO = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const VETH_INFO_PEER = 1;
const BR = { forwardDelay: 1, vlanFiltering: 7 } as const;
const BRPORT = { mode: 4, isolated: 33 } as const;
const BRIDGE_VLAN_INFO = 2;
const BRIDGE_FLAGS = 0;
/** BRIDGE_FLAGS_SELF: of the bridge's own device, not of its port. */
const SELF = 2;
const VLAN = { pvid: 2, untagged: 4, rangeBegin: 8, rangeEnd: 16 } as const;
/** IFLA_INET6_ADDR_GEN_MODE: IN6_ADDR_GEN_MODE_NONE */
const [ADDR_GEN_MODE, NO_ADDRESS] = [8, 1];
/** RTEXT_FILTER_SKIP_STATS */
const SKIP_STATS = 8;
const ENODEV = 19;

/** Which link: by index, or by name. */
export type LinkName = number | string;

function head(index = 0, flags = 0, change = 0, family: number = ANY): Buffer {
  return Buffer.concat([Buffer.of(family, 0), u16(0), u32(index), u32(flags), u32(change)]);
}

const named = (link: LinkName): readonly Attribute[] => (typeof link === 'string' ? [[IFLA.ifname, text(link)]] : []);
const indexOf = (link: LinkName): number => (typeof link === 'number' ? link : 0);

export interface VethSpec {
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number | undefined;
  readonly master?: number | undefined;
  readonly peer: { readonly name: string; readonly mac: string; readonly netnsFd?: number };
}

/** Makes both ends at once: the other end in its namespace, under its final name, with its address and MTU. */
export function newVeth({ name, mac, mtu, master, peer }: VethSpec): RouteRequest {
  const size: readonly Attribute[] = mtu === undefined ? [] : [[IFLA.mtu, u32(mtu)]];
  const other: readonly Attribute[] = [
    [IFLA.ifname, text(peer.name)],
    [IFLA.address, macBytes(peer.mac)],
    ...size,
    ...(peer.netnsFd === undefined ? [] : ([[IFLA.netNsFd, u32(peer.netnsFd)]] as const)),
  ];
  return {
    op: `make the veth pair ${name} - ${peer.name}`,
    type: RTM_NEWLINK,
    flags: FLAG.create | FLAG.exclusive,
    head: head(),
    attributes: [
      [IFLA.ifname, text(name)],
      [IFLA.address, macBytes(mac)],
      ...size,
      ...(master === undefined ? [] : ([[IFLA.master, u32(master)]] as const)),
      [IFLA.linkinfo, linkInfo('veth', [[VETH_INFO_PEER, Buffer.concat([head(), encoded(other)])]])],
    ],
  };
}

/** The peer's attributes follow its header, which makes them no plain nest. */
function encoded(attributes: readonly Attribute[]): Buffer {
  const parts = attributes.map(([type, value]) => {
    if (!(value instanceof Uint8Array)) throw new TypeError('a nested attribute of a peer');
    const padding = Buffer.alloc(-value.length & 3);
    return Buffer.concat([u16(value.length + 4), u16(type), value, padding]);
  });
  return Buffer.concat(parts);
}

function linkInfo(kind: string, values: readonly Attribute[] = []): readonly Attribute[] {
  return values.length === 0
    ? [[INFO.kind, text(kind)]]
    : [
        [INFO.kind, text(kind)],
        [INFO.data, values],
      ];
}

export interface NewBridge {
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number | undefined;
}

/** A bridge with an address of its own, which its ports don't change, and without a delay before they forward. */
export function newBridge({ name, mac, mtu }: NewBridge): RouteRequest {
  const attributes: readonly Attribute[] = [[IFLA.address, macBytes(mac)], ...sizeOf(mtu)];
  return newLink(name, 'bridge', [...attributes, [IFLA.linkinfo, linkInfo('bridge', [[BR.forwardDelay, u32(0)]])]]);
}

/** A link whose queue shapes what is redirected to it. */
export function newIfb(name: string, mtu: number | undefined): RouteRequest {
  return newLink(name, 'ifb', [...sizeOf(mtu), [IFLA.linkinfo, linkInfo('ifb')]]);
}

const sizeOf = (mtu: number | undefined): readonly Attribute[] => (mtu === undefined ? [] : [[IFLA.mtu, u32(mtu)]]);

function newLink(name: string, kind: string, more: readonly Attribute[]): RouteRequest {
  const attributes: readonly Attribute[] = [[IFLA.ifname, text(name)], ...more];
  const flags = FLAG.create | FLAG.exclusive;
  return { op: `make the ${kind} ${name}`, type: RTM_NEWLINK, flags, head: head(), attributes };
}

export function setVlanFiltering(bridge: LinkName): RouteRequest {
  return {
    op: `switch on VLAN filtering of ${bridge}`,
    type: RTM_NEWLINK,
    flags: 0,
    head: head(indexOf(bridge)),
    attributes: [...named(bridge), [IFLA.linkinfo, linkInfo('bridge', [[BR.vlanFiltering, u8(1)]])]],
  };
}

export interface LinkChange {
  readonly alias?: string;
  readonly mac?: string;
  readonly group?: number;
  /** Index of the bridge that it is to be a port of. */
  readonly master?: number;
  /** Of a bridge's port. */
  readonly port?: { readonly hairpin: boolean; readonly isolated: boolean };
  /** No IPv6 address of its own, as a bridge's port has no use for one. */
  readonly isWithoutIPv6?: boolean;
  /** Bits of IFF_… that are to be 1, and to be 0. */
  readonly set?: number;
  readonly clear?: number;
}

export function changeLink(link: LinkName, change: LinkChange): RouteRequest {
  const { alias, mac, group, master, port, isWithoutIPv6 = false, set = 0, clear = 0 } = change;
  const slave: readonly Attribute[] =
    port === undefined
      ? []
      : [
          [INFO.slaveKind, text('bridge')],
          [
            INFO.slaveData,
            [
              [BRPORT.mode, u8(Number(port.hairpin))],
              [BRPORT.isolated, u8(Number(port.isolated))],
            ],
          ],
        ];
  const attributes: Attribute[] = [...named(link)];
  if (alias !== undefined) attributes.push([IFLA.ifalias, Buffer.from(alias)]);
  if (mac !== undefined) attributes.push([IFLA.address, macBytes(mac)]);
  if (group !== undefined) attributes.push([IFLA.group, u32(group)]);
  if (master !== undefined) attributes.push([IFLA.master, u32(master)]);
  if (slave.length > 0) attributes.push([IFLA.linkinfo, slave]);
  if (isWithoutIPv6) attributes.push([IFLA.afSpec, [[AF.inet6, [[ADDR_GEN_MODE, u8(NO_ADDRESS)]]]]]);
  return {
    op: `change ${Object.keys(change).join(', ')} of ${link}`,
    type: RTM_NEWLINK,
    flags: 0,
    head: head(indexOf(link), set, set | clear),
    attributes,
  };
}

/** What is gone already is fine. */
export function deleteLink(link: LinkName): RouteRequest {
  const op = `remove ${link}`;
  const attributes = named(link);
  return { op, type: RTM_DELLINK, flags: 0, head: head(indexOf(link)), attributes, fine: [ENODEV] };
}

/** All links of a group, in one go. */
export function deleteGroup(group: number): RouteRequest {
  const attributes: readonly Attribute[] = [[IFLA.group, u32(group)]];
  return { op: 'remove links', type: RTM_DELLINK, flags: 0, head: head(), attributes, fine: [ENODEV] };
}

/** Also makes the kernel look at the carrier, which it does in its own time otherwise. */
export function getLink(link: LinkName): RouteRequest {
  const attributes: readonly Attribute[] = [...named(link), [IFLA.extMask, u32(SKIP_STATS)]];
  return { op: `look at ${link}`, type: RTM_GETLINK, flags: 0, head: head(indexOf(link)), attributes };
}

export function dumpLinks(): RouteRequest {
  const attributes: readonly Attribute[] = [[IFLA.extMask, u32(SKIP_STATS)]];
  return { op: 'list the links', type: RTM_GETLINK, flags: FLAG.dump, head: head(), attributes };
}

export interface VlanRange {
  readonly from: number;
  readonly to: number;
  /** Untagged frames belong to it, and leave without a tag. */
  readonly isAccess: boolean;
}

/** Puts a port into VLANs, or takes it out of them; `isSelf`: the bridge's own device. */
export function changeVlans(
  index: number,
  { from, to, isAccess }: VlanRange,
  { isRemoval = false, isSelf = false } = {},
): RouteRequest {
  const flags = isAccess ? VLAN.pvid | VLAN.untagged : 0;
  const info = (more: number, id: number): Attribute => [BRIDGE_VLAN_INFO, Buffer.concat([u16(flags | more), u16(id)])];
  const ranges = from === to ? [info(0, from)] : [info(VLAN.rangeBegin, from), info(VLAN.rangeEnd, to)];
  const spec: readonly Attribute[] = isSelf ? [[BRIDGE_FLAGS, u16(SELF)], ...ranges] : ranges;
  return {
    op: `${isRemoval ? 'leave' : 'join'} VLAN ${from === to ? from : `${from}-${to}`}`,
    type: isRemoval ? RTM_DELLINK : RTM_SETLINK,
    flags: 0,
    head: head(index, 0, 0, AF.bridge),
    attributes: [[IFLA.afSpec, spec]],
  };
}

export interface Link {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge` …; '' for what has none. */
  readonly kind: string;
  readonly isUp: boolean;
  readonly isPromiscuous: boolean;
  readonly mac: string;
  readonly mtu: number;
  readonly alias: string;
  /** Index of the bridge; 0 = of none. */
  readonly master: number;
  /** Index of the other end, in its namespace; 0 = it has none. */
  readonly peer: number;
  /** Number of the namespace of the other end; NO_NAMESPACE = this one, or it has none. */
  readonly peerNamespace: number;
}

export const isLinkMessage = ({ type, family }: Message) => type === RTM_NEWLINK && family !== AF.bridge;

/** A link that was removed; a bridge's port that ceases to be one is told with the same number. */
export const isLinkRemoval = ({ type, family }: Message) => type === RTM_DELLINK && family !== AF.bridge;

export const linkIndexOf = ({ bytes }: Message) => readHostWord(bytes, HEADER + 4);

export function readLink(message: Message): Link {
  const { bytes } = message;
  const parts = attributesIn(bytes.subarray(HEADER + LINK_HEADER));
  const word = (type: number) => {
    const value = parts.get(type);
    return value === undefined ? 0 : readHostWord(value);
  };
  const string = (value: Buffer | undefined) => (value === undefined ? '' : textOf(value));
  const flags = readHostWord(bytes, HEADER + 8);
  const info = parts.get(IFLA.linkinfo);
  const number = parts.get(IFLA.linkNetnsid);
  return {
    index: linkIndexOf(message),
    name: string(parts.get(IFLA.ifname)),
    kind: info === undefined ? '' : string(attributesIn(info).get(INFO.kind)),
    isUp: (flags & IFF.up) !== 0,
    isPromiscuous: (flags & IFF.promisc) !== 0,
    mac: macText(parts.get(IFLA.address) ?? Buffer.alloc(0)),
    mtu: word(IFLA.mtu),
    alias: string(parts.get(IFLA.ifalias)),
    master: word(IFLA.master),
    peer: word(IFLA.link),
    peerNamespace: number === undefined ? NO_NAMESPACE : readHostWord(number) | 0,
  };
}
