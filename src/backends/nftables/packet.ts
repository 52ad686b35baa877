/** How rules find their way in a packet: the registers that keys are built in. Pure. */

import type { IPFamily } from '../../net/ip.ts';
import { hostWord } from '../../netfilter/attributes.ts';
import { BASE, CMP, CT, type Expression, META, ORIGINAL, type Register, VERDICT } from '../../netfilter/expressions.ts';
import { type Field, TYPE } from '../../netfilter/messages.ts';

/** What differs between the families. Offsets are of the IPv4 and IPv6 headers (RFC 791, RFC 8200). */
export interface FamilyLayout {
  readonly family: IPFamily;
  /** NFPROTO_IPV4, NFPROTO_IPV6 */
  readonly protocol: number;
  readonly address: Field;
  /** 32-bit registers of an address. */
  readonly words: number;
  readonly sourceOffset: number;
  readonly destinationOffset: number;
  readonly originalDestination: number;
}

const LAYOUTS: Readonly<Record<IPFamily, FamilyLayout>> = {
  IPv4: {
    family: 'IPv4',
    protocol: 2,
    address: { type: TYPE.ipv4, bytes: 4 },
    words: 1,
    sourceOffset: 12,
    destinationOffset: 16,
    originalDestination: CT.dstIPv4,
  },
  IPv6: {
    family: 'IPv6',
    protocol: 10,
    address: { type: TYPE.ipv6, bytes: 16 },
    words: 4,
    sourceOffset: 8,
    destinationOffset: 24,
    originalDestination: CT.dstIPv6,
  },
};

/** What a table may belong to: of the bridge family are the frames that a bridge passes on. */
export type NftFamily = IPFamily | 'bridge';

const NFPROTO_BRIDGE = 7;

/** NFPROTO_* */
export function protocolOf(family: NftFamily): number {
  return family === 'bridge' ? NFPROTO_BRIDGE : LAYOUTS[family].protocol;
}

export function layoutOf(family: IPFamily): FamilyLayout {
  return LAYOUTS[family];
}

/** Whose addresses a key speaks of: the packet's as it is, or as its connection's first packet came. */
export type View = 'packet' | 'original';

export function source({ sourceOffset, address }: FamilyLayout, dreg: Register): Expression {
  return { name: 'payload', dreg, base: BASE.network, offset: sourceOffset, len: address.bytes };
}

export function destination({ destinationOffset, address }: FamilyLayout, dreg: Register): Expression {
  return { name: 'payload', dreg, base: BASE.network, offset: destinationOffset, len: address.bytes };
}

/** The destination as the connection's first packet came. */
export function originalDestination({ originalDestination: key }: FamilyLayout, dreg: Register): Expression {
  return { name: 'ct', dreg, key, direction: ORIGINAL };
}

export function destinationPort(dreg: Register): Expression {
  return { name: 'payload', dreg, base: BASE.transport, offset: 2, len: 2 };
}

/** Register words that `frontend` fills. */
export function frontendWords({ words }: FamilyLayout): number {
  return words + 2;
}

/**
 * Builds a frontend's key from register `at` on: address, protocol, port. Of a NodePort the address is masked away, so that one
 * map serves both kinds.
 */
export function frontend(
  layout: FamilyLayout,
  at: Register,
  { isNodePort = false, view = 'packet' }: { readonly isNodePort?: boolean; readonly view?: View } = {},
): Expression[] {
  const { address, words } = layout;
  const zeros = Buffer.alloc(address.bytes);
  const where = view === 'packet' ? destination(layout, at) : originalDestination(layout, at);
  return [
    where,
    ...(isNodePort
      ? [{ name: 'bitwise', sreg: at, dreg: at, len: address.bytes, mask: zeros, xor: zeros } as const]
      : []),
    { name: 'meta', dreg: at + words, key: META.l4proto },
    view === 'packet'
      ? destinationPort(at + words + 1)
      : { name: 'ct', dreg: at + words + 1, key: CT.protoDst, direction: ORIGINAL },
  ];
}

/** True where a bit of a flags register is set (or none of them is). */
export function hasBits(load: Expression & { readonly dreg: Register }, bits: number, has = true): Expression[] {
  const { dreg } = load;
  return [
    load,
    { name: 'bitwise', sreg: dreg, dreg, len: 4, mask: hostWord(bits), xor: hostWord(0) },
    { name: 'cmp', sreg: dreg, op: has ? CMP.neq : CMP.eq, data: hostWord(0) },
  ];
}

/** What conntrack says of the packet, for `hasBits`: enum ip_conntrack_info as bits. */
export const FLOW_STATE = { name: 'ct', dreg: 0, key: CT.state } as const;
/** enum ip_conntrack_status of its connection. */
export const FLOW_STATUS = { name: 'ct', dreg: 0, key: CT.status } as const;

/** Goes where the map says for the key in the first registers; on, where it says nothing. */
export function toVerdict(set: string): Expression {
  return { name: 'lookup', set, sreg: 0, dreg: VERDICT };
}
