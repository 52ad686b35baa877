/** What the rules of tables.ts look for, as lists of expressions. Pure. */
import { destination, type FamilyLayout, frontend, frontendWords, source } from '../../backends/nftables/packet.ts';
import { maskBytes } from '../../backends/nftables/sources.ts';
import { addressBytes } from '../../net/address-bytes.ts';
import { hostWord } from '../../netfilter/attributes.ts';
import {
  CMP,
  type Expression,
  FIB,
  LOOKUP_INVERTED,
  type META,
  NAT,
  type Register,
} from '../../netfilter/expressions.ts';
import { SETS } from './names.ts';

/** IFNAMSIZ, and the registers that it takes. */
export const NAME_BYTES = 16;
export const NAME_WORDS = 4;

/** Looks the key in the first registers up. */
export function isIn(set: string): Expression {
  return { name: 'lookup', set, sreg: 0 };
}

export function isNotIn(set: string): Expression {
  return { name: 'lookup', set, sreg: 0, flags: LOOKUP_INVERTED };
}

/** `load` is the source or the destination. */
export function isWithin(
  load: (layout: FamilyLayout, dreg: Register) => Expression,
  layout: FamilyLayout,
  { address, length, op = CMP.eq }: { readonly address: string; readonly length: number; readonly op?: number },
): Expression[] {
  const { bytes } = layout.address;
  return [
    load(layout, 0),
    {
      name: 'bitwise',
      sreg: 0,
      dreg: 0,
      len: bytes,
      mask: maskBytes(length, bytes),
      xor: Buffer.alloc(bytes),
    },
    { name: 'cmp', sreg: 0, op, data: addressBytes(address) },
  ];
}

/** Whether the destination is an address of this node. */
export function isToNode(isSo: boolean): Expression[] {
  return [
    { name: 'fib', dreg: 0, result: FIB.addressType, flags: FIB.daddr },
    { name: 'cmp', sreg: 0, op: isSo ? CMP.eq : CMP.neq, data: hostWord(FIB.local) },
  ];
}

export function isNotMulticast(layout: FamilyLayout): Expression[] {
  const range = layout.family === 'IPv4' ? { address: '224.0.0.0', length: 4 } : { address: 'ff00::', length: 8 };
  return isWithin(destination, layout, { ...range, op: CMP.neq });
}

export function isFromLoopback(layout: FamilyLayout): Expression[] {
  return isWithin(source, layout, { address: '127.0.0.0', length: 8 });
}

export function isNotInterface(key: typeof META.iifname | typeof META.oifname, name: string): Expression[] {
  return [
    { name: 'meta', dreg: 0, key },
    { name: 'cmp', sreg: 0, op: CMP.neq, data: nameBytes(name) },
  ];
}

/** An interface's name as the registers hold it. */
export function nameBytes(name: string): Buffer {
  return Buffer.concat([Buffer.from(name, 'latin1')], NAME_BYTES);
}

/** DNAT to where the map says for the packet's destination; on, where it says nothing. */
export function toHostPort(layout: FamilyLayout, isAnyAddress: boolean): Expression[] {
  const { protocol, words } = layout;
  return [
    ...frontend(layout, 0, { isNodePort: isAnyAddress }),
    { name: 'lookup', set: SETS.hostPorts, sreg: 0, dreg: 0 },
    { name: 'nat', type: NAT.dnat, family: protocol, addressMin: 0, protoMin: words },
  ];
}

/** Whether the connection's first packet came to a hostPort. What the map says for it isn't looked at. */
export function cameToHostPort(layout: FamilyLayout, isAnyAddress: boolean): Expression[] {
  return [
    ...frontend(layout, 0, { view: 'original', isNodePort: isAnyAddress }),
    { name: 'lookup', set: SETS.hostPorts, sreg: 0, dreg: frontendWords(layout) },
  ];
}
