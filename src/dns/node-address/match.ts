/** What the rules of tables.ts look for and do, as lists of expressions. Pure. */
import { destination, destinationPort, type FamilyLayout, frontend, source } from '../../backends/nftables/packet.ts';
import {
  BASE,
  CMP,
  DYNSET,
  type Expression,
  META,
  type Register,
  SOCKET,
  TCP_FLAGS,
  verdict,
} from '../../netfilter/expressions.ts';
import { SETS } from './names.ts';

/** IANA protocol numbers. */
export const TCP = 6;
export const UDP = 17;

/** Where a packet goes, in the form of SETS.ports. */
export function question(layout: FamilyLayout): Expression[] {
  return frontend(layout, 0);
}

/** Where it comes from, in the same form. */
export function answer(layout: FamilyLayout): Expression[] {
  const { words } = layout;
  return [source(layout, 0), { name: 'meta', dreg: words, key: META.l4proto }, sourcePort(words + 1)];
}

/** Both ends, in the form of SETS.connections. */
export function tuple(layout: FamilyLayout): Expression[] {
  const { words } = layout;
  return [source(layout, 0), sourcePort(words), destination(layout, words + 1), destinationPort(2 * words + 1)];
}

export function sourcePort(dreg: Register): Expression {
  return { name: 'payload', dreg, base: BASE.transport, offset: 0, len: 2 };
}

/** Looks the key in the first registers up. */
export function lookup(set: string, flags = 0): Expression {
  return { name: 'lookup', set, sreg: 0, ...(flags === 0 ? {} : { flags }) };
}

/** What is loaded into the first registers is this. */
export function equals(load: Expression, data: Buffer): Expression[] {
  return [load, { name: 'cmp', sreg: 0, op: CMP.eq, data }];
}

export function isProtocol(number: number): Expression[] {
  return equals({ name: 'meta', dreg: 0, key: META.l4proto }, Buffer.of(number));
}

/** Some of these flags of a TCP header are set; `has` = false: none. */
export function hasFlags(bits: number, has = true): Expression[] {
  return [
    ...isProtocol(TCP),
    { name: 'payload', dreg: 0, base: BASE.transport, offset: TCP_FLAGS.offset, len: 1 },
    { name: 'bitwise', sreg: 0, dreg: 0, len: 1, mask: Buffer.of(bits), xor: Buffer.of(0) },
    { name: 'cmp', sreg: 0, op: has ? CMP.neq : CMP.eq, data: Buffer.of(0) },
  ];
}

/** A socket of this machine waits for the packet, and is bound to its very address. One that waits at all addresses doesn't count. */
export function hasExactSocket(): Expression[] {
  return equals({ name: 'socket', dreg: 0, key: SOCKET.wildcard }, Buffer.of(0));
}

/** The key in the first registers is in SETS.connections from now on; true while there is room. */
export function remember(timeout: bigint): Expression {
  return { name: 'dynset', set: SETS.connections, op: DYNSET.update, sregKey: 0, timeout };
}

/** Passes conntrack by, and with it NAT. */
export function untracked(): Expression[] {
  return [{ name: 'notrack' }, verdict('accept')];
}

/** As a register holds it. */
export function portBytes(port: number): Buffer {
  return Buffer.of(port >> 8, port & 255);
}
