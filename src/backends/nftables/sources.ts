/** Matches on where a packet comes from or goes to, as lists of expressions: one list an alternative. Pure. */

import { addressBytes } from '../../net/address-bytes.ts';
import { type CIDR, parseCIDR } from '../../net/cidr.ts';
import { hostWord } from '../../netfilter/attributes.ts';
import { CMP, type Expression, FIB, META } from '../../netfilter/expressions.ts';
import type { NftablesOptions } from './options.ts';
import { destination, type FamilyLayout, layoutOf, originalDestination, source } from './packet.ts';

/** IFNAMSIZ */
const INTERFACE_NAME_BYTES = 16;

/** The source is an address of this node. */
export function fromNode(): Expression[] {
  return isLocal(FIB.saddr);
}

function isLocal(flags: number): Expression[] {
  return [
    { name: 'fib', dreg: 0, result: FIB.addressType, flags },
    { name: 'cmp', sreg: 0, op: CMP.eq, data: hostWord(FIB.local) },
  ];
}

/** Traffic of this cluster's pods; nothing where they can't be told. `isNot`: all other traffic. */
export function fromPods({ localDetector, family }: NftablesOptions, isNot = false): Expression[][] {
  const op = isNot ? CMP.neq : CMP.eq;
  switch (localDetector.kind) {
    case 'none':
      return [];
    case 'source':
      return [within(layoutOf(family), { load: source, cidr: rangeOf(localDetector.cidr), op })];
    case 'interface':
      return [comesBy(localDetector.pattern, op)];
  }
}

/** The interface that a packet comes in by; a pattern that ends in `+` is the beginning of its name. */
export function comesBy(pattern: string, op: number = CMP.eq): Expression[] {
  const isPrefix = pattern.endsWith('+');
  const name = Buffer.from(isPrefix ? pattern.slice(0, -1) : pattern, 'latin1');
  const data = isPrefix ? name : Buffer.concat([name], INTERFACE_NAME_BYTES);
  return [
    { name: 'meta', dreg: 0, key: META.iifname },
    ...(data.length === 0 ? [] : [{ name: 'cmp', sreg: 0, op, data } as const]),
  ];
}

/** The addresses of this node at which NodePorts are served. */
export function toNodePorts(options: NftablesOptions): Expression[][] {
  const layout = layoutOf(options.family);
  return nodePortRanges(options).map(range => [
    ...isLocal(FIB.daddr),
    ...within(layout, { ...range, load: destination }),
  ]);
}

/** The same, behind the DNAT. The kernel can't be asked any more whether the address was its own. */
export function cameToNodePorts(options: NftablesOptions): Expression[][] {
  const layout = layoutOf(options.family);
  return nodePortRanges(options).map(range => within(layout, { ...range, load: originalDestination }));
}

function nodePortRanges({ nodePortAddresses, family }: NftablesOptions) {
  if (nodePortAddresses === 'all') return [{ cidr: loopback(family), op: CMP.neq }];
  return nodePortAddresses.map(text => ({ cidr: rangeOf(text), op: CMP.eq }));
}

export function toRange(layout: FamilyLayout, cidr: string): Expression[] {
  return within(layout, { load: destination, cidr: rangeOf(cidr), op: CMP.eq });
}

export function loopback(family: NftablesOptions['family']): CIDR {
  return rangeOf(family === 'IPv4' ? '127.0.0.0/8' : '::1/128');
}

interface Within {
  readonly load: (layout: FamilyLayout, dreg: number) => Expression;
  readonly cidr: CIDR;
  readonly op: number;
}

function within(layout: FamilyLayout, { load, cidr, op }: Within): Expression[] {
  const { bytes } = layout.address;
  const [text = '', length = ''] = cidr.text.split('/');
  const mask = maskBytes(Number(length), bytes);
  const compare: Expression = { name: 'cmp', sreg: 0, op, data: addressBytes(text) };
  if (Number(length) === bytes * 8) return [load(layout, 0), compare];
  const masked: Expression = { name: 'bitwise', sreg: 0, dreg: 0, len: bytes, mask, xor: Buffer.alloc(bytes) };
  return [load(layout, 0), masked, compare];
}

/** A prefix length as a mask. */
export function maskBytes(length: number, bytes: number): Buffer {
  const mask = Buffer.alloc(bytes);
  for (let bit = 0; bit < length; bit += 1) mask[bit >> 3]! |= 0x80 >> (bit & 7);
  return mask;
}

function rangeOf(text: string): CIDR {
  const range = parseCIDR(text);
  if (range === undefined) throw new TypeError(`not a CIDR: ${text}`);
  return range;
}
