/**
 * The expressions of nf_tables' rules, as data and as netlink attributes. Pure. Source: include/uapi/linux/netfilter/nf_tables.h
 * (nft_expr_attributes and one enum of attributes per expression).
 */
import { attributeList, attributesIn, type MessageWriter, textOf } from './attributes.ts';

/** A 32-bit register: 0 to 15 (NFT_REG32_00 …), or VERDICT. */
export type Register = number;
export const VERDICT: Register = -1;

/** NF_DROP, NF_ACCEPT of linux/netfilter.h and enum nft_verdicts. */
export const VERDICTS = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 } as const;
export type VerdictKind = keyof typeof VERDICTS;

export interface Verdict {
  readonly kind: VerdictKind;
  /** Of jump and goto. */
  readonly chain?: string;
}

/** enum nft_payload_bases */
export const BASE = { link: 0, network: 1, transport: 2 } as const;
/** The byte of the TCP header that holds the flags, and its bits (RFC 9293 §3.1). */
export const TCP_FLAGS = { offset: 13, fin: 1, syn: 2, rst: 4, psh: 8 } as const;
/** enum nft_meta_keys */
export const META = { protocol: 1, iifname: 6, oifname: 7, l4proto: 16 } as const;
/** enum nft_ct_keys */
export const CT = { state: 0, status: 2, protoDst: 12, srcIPv4: 19, dstIPv4: 20, srcIPv6: 21, dstIPv6: 22 } as const;
/** enum ip_conntrack_dir */
export const ORIGINAL = 0;
/** NF_CT_STATE_BIT, linux/netfilter/nf_conntrack_common.h */
export const CT_STATE = { invalid: 1, established: 2, related: 4, new: 8 } as const;
/** IPS_DST_NAT */
export const CT_STATUS_DNAT = 1 << 5;
/** enum nft_fib_flags; result NFT_FIB_RESULT_ADDRTYPE; RTN_LOCAL of linux/rtnetlink.h */
export const FIB = { saddr: 1, daddr: 2, addressType: 3, local: 2 } as const;
/** enum nft_cmp_ops */
export const CMP = { eq: 0, neq: 1 } as const;
/** NFT_LOOKUP_F_INV: true where the set has no such element. */
export const LOOKUP_INVERTED = 1;
/** enum nft_socket_keys. Wildcard: whether the packet's socket is bound to no address; no socket, no match. */
export const SOCKET = { wildcard: 2 } as const;
/** enum nft_dynset_ops */
export const DYNSET = { update: 1, delete: 2 } as const;
/** enum nft_nat_types, NF_NAT_RANGE_PROTO_RANDOM_FULLY of linux/netfilter/nf_nat.h */
export const NAT = { dnat: 1, fullyRandom: 1 << 4 } as const;
/** enum nft_reject_types */
export const REJECT = { icmp: 0, tcpReset: 1 } as const;
/** enum nft_ng_types */
const NUMGEN_RANDOM = 1;

interface Fields {
  payload: { dreg: Register; base: number; offset: number; len: number };
  meta: { dreg: Register; key: number };
  ct: { dreg: Register; key: number; direction?: number };
  fib: { dreg: Register; result: number; flags: number };
  cmp: { sreg: Register; op: number; data: Buffer };
  bitwise: { sreg: Register; dreg: Register; len: number; mask: Buffer; xor: Buffer };
  lookup: { set: string; sreg: Register; dreg?: Register; flags?: number };
  numgen: { dreg: Register; modulus: number; type: number; offset?: number };
  hash: { sreg: Register; dreg: Register; len: number; modulus: number; seed?: number; offset?: number; type?: number };
  immediate: { dreg: Register; data: Buffer | Verdict };
  nat: { type: number; family: number; addressMin: Register; protoMin: Register };
  masq: { flags: number };
  reject: { type: number; code?: number };
  dynset: { set: string; op: number; sregKey: Register; sregData?: Register; timeout?: bigint };
  socket: { dreg: Register; key: number };
  notrack: object;
  counter: object;
}

export type ExpressionName = keyof Fields;
export type Expression = { [N in ExpressionName]: { readonly name: N } & Readonly<Fields[N]> }[ExpressionName];

type Kind = 'u32' | 'u8' | 'u64' | 'register' | 'text' | 'value' | 'data';
type Layout = {
  readonly [N in ExpressionName]: { readonly [F in keyof Required<Fields[N]>]: readonly [number, Kind] };
};

/** Attribute number and form of each field. */
const LAYOUT: Layout = {
  payload: { dreg: [1, 'register'], base: [2, 'u32'], offset: [3, 'u32'], len: [4, 'u32'] },
  meta: { dreg: [1, 'register'], key: [2, 'u32'] },
  ct: { dreg: [1, 'register'], key: [2, 'u32'], direction: [3, 'u8'] },
  fib: { dreg: [1, 'register'], result: [2, 'u32'], flags: [3, 'u32'] },
  cmp: { sreg: [1, 'register'], op: [2, 'u32'], data: [3, 'value'] },
  bitwise: {
    sreg: [1, 'register'],
    dreg: [2, 'register'],
    len: [3, 'u32'],
    mask: [4, 'value'],
    xor: [5, 'value'],
  },
  lookup: { set: [1, 'text'], sreg: [2, 'register'], dreg: [3, 'register'], flags: [5, 'u32'] },
  numgen: { dreg: [1, 'register'], modulus: [2, 'u32'], type: [3, 'u32'], offset: [4, 'u32'] },
  hash: {
    sreg: [1, 'register'],
    dreg: [2, 'register'],
    len: [3, 'u32'],
    modulus: [4, 'u32'],
    seed: [5, 'u32'],
    offset: [6, 'u32'],
    type: [7, 'u32'],
  },
  immediate: { dreg: [1, 'register'], data: [2, 'data'] },
  nat: { type: [1, 'u32'], family: [2, 'u32'], addressMin: [3, 'register'], protoMin: [5, 'register'] },
  masq: { flags: [1, 'u32'] },
  reject: { type: [1, 'u32'], code: [2, 'u8'] },
  dynset: {
    set: [1, 'text'],
    op: [3, 'u32'],
    sregKey: [4, 'register'],
    sregData: [5, 'register'],
    timeout: [6, 'u64'],
  },
  socket: { key: [1, 'u32'], dreg: [2, 'register'] },
  notrack: {},
  counter: {},
};

/** NFTA_EXPR_NAME, NFTA_EXPR_DATA; NFTA_LIST_ELEM. */
const EXPR_NAME = 1;
const EXPR_DATA = 2;
const LIST_ELEM = 1;
/** NFTA_DATA_VALUE, NFTA_DATA_VERDICT; NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN. */
const DATA_VALUE = 1;
const DATA_VERDICT = 2;
const VERDICT_CODE = 1;
const VERDICT_CHAIN = 2;
/** NFT_REG32_00 */
const FIRST_REGISTER = 8;

/** The dice: a number from `offset` to `offset + modulus - 1` (include/uapi/linux/netfilter/nf_tables.h, NFT_NG_RANDOM). */
export function random(dreg: Register, modulus: number, offset = 0): Expression {
  return { name: 'numgen', dreg, modulus, type: NUMGEN_RANDOM, ...(offset === 0 ? {} : { offset }) };
}

export function verdict(kind: VerdictKind, chain?: string): Expression {
  return { name: 'immediate', dreg: VERDICT, data: chain === undefined ? { kind } : { kind, chain } };
}

/** The expressions as the elements of the list attribute `type`. */
export function writeExpressions(out: MessageWriter, type: number, expressions: readonly Expression[]): void {
  const list = out.nest(type);
  for (const expression of expressions) {
    const element = out.nest(LIST_ELEM);
    out.text(EXPR_NAME, expression.name);
    const data = out.nest(EXPR_DATA);
    const fields: Readonly<Record<string, unknown>> = { ...expression };
    for (const [field, [number, kind]] of layoutOf(expression.name)) {
      if (fields[field] !== undefined) writeField(out, number, kind, fields[field]);
    }
    out.close(data);
    out.close(element);
  }
  out.close(list);
}

/** The reverse of `writeExpressions`. @throws TypeError for an expression that we never write */
export function readExpressions(list: Buffer): Expression[] {
  return [...attributeList(list)].map(([, element]) => {
    const parts = attributesIn(element);
    const name = textOf(parts.get(EXPR_NAME) ?? Buffer.alloc(0));
    if (!isExpressionName(name)) throw new TypeError(`an expression that isn't ours: ${name}`);
    const values = attributesIn(parts.get(EXPR_DATA) ?? Buffer.alloc(0));
    const fields: Record<string, unknown> = { name };
    for (const [field, [number, kind]] of layoutOf(name)) {
      const value = values.get(number);
      if (value === undefined) continue;
      const read = readField(kind, value);
      // The kernel tells of these where nobody set them, too.
      if (read !== 0 || !isOptional(name, field)) fields[field] = read;
    }
    return fields as unknown as Expression;
  });
}

function isOptional(name: ExpressionName, field: string): boolean {
  return (name === 'lookup' && field === 'flags') || ((name === 'numgen' || name === 'hash') && field === 'offset');
}

function isExpressionName(name: string): name is ExpressionName {
  return Object.hasOwn(LAYOUT, name);
}

function layoutOf(name: ExpressionName): readonly (readonly [string, readonly [number, Kind]])[] {
  return Object.entries(LAYOUT[name]);
}

function writeField(out: MessageWriter, number: number, kind: Kind, value: unknown): void {
  if (kind === 'register' && typeof value === 'number') {
    out.u32(number, value === VERDICT ? 0 : FIRST_REGISTER + value);
  } else if (kind === 'u32' && typeof value === 'number') out.u32(number, value);
  else if (kind === 'u8' && typeof value === 'number') out.raw(number, Uint8Array.of(value));
  else if (kind === 'u64' && typeof value === 'bigint') out.u64(number, value);
  else if (kind === 'text' && typeof value === 'string') out.text(number, value);
  else writeData(out, number, value as Buffer | Verdict);
}

/** A value or a verdict, as rules and map elements have them. */
export function writeData(out: MessageWriter, type: number, data: Buffer | Verdict): void {
  const outer = out.nest(type);
  if (data instanceof Uint8Array) out.raw(DATA_VALUE, data);
  else {
    const inner = out.nest(DATA_VERDICT);
    out.u32(VERDICT_CODE, VERDICTS[data.kind]);
    if (data.chain !== undefined) out.text(VERDICT_CHAIN, data.chain);
    out.close(inner);
  }
  out.close(outer);
}

/** The reverse of `writeData`. */
export function readData(data: Buffer): Buffer | Verdict {
  const parts = attributesIn(data);
  const value = parts.get(DATA_VALUE);
  if (value !== undefined) return value;
  const inner = attributesIn(parts.get(DATA_VERDICT) ?? Buffer.alloc(0));
  const code = inner.get(VERDICT_CODE)?.readInt32BE(0);
  const kind = (Object.keys(VERDICTS) as VerdictKind[]).find(name => VERDICTS[name] === code);
  if (kind === undefined) throw new TypeError(`a verdict that isn't ours: ${code}`);
  const chain = inner.get(VERDICT_CHAIN);
  return chain === undefined ? { kind } : { kind, chain: textOf(chain) };
}

function readField(kind: Kind, value: Buffer): unknown {
  switch (kind) {
    case 'register': {
      const number = value.readUInt32BE(0);
      // The kernel prints the register that begins a group of four by its older number.
      if (number < FIRST_REGISTER) return number === 0 ? VERDICT : (number - 1) * 4;
      return number - FIRST_REGISTER;
    }
    case 'u32':
      return value.readUInt32BE(0);
    case 'u8':
      return value[0];
    case 'u64':
      return value.readBigUInt64BE(0);
    case 'text':
      return textOf(value);
    case 'value':
    case 'data':
      return readData(value);
  }
}
