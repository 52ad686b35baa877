/**
 * Rules as nft prints them, for people. Pure. The registers hold texts here: an expression that loads something writes what nft calls it, one that
 * uses registers joins what it finds there. Checked against nft's own text in test/integration/nftables-dump.test.ts.
 */

import { addressText } from '../../net/address-bytes.ts';
import type { IPFamily } from '../../net/ip.ts';
import { readHostWord } from '../../netfilter/attributes.ts';
import {
  BASE,
  CMP,
  CT,
  DYNSET,
  type Expression,
  type ExpressionName,
  FIB,
  LOOKUP_INVERTED,
  META,
  NAT,
  ORIGINAL,
  REJECT,
  type Register,
  SOCKET,
  TCP_FLAGS,
  VERDICT,
  type Verdict,
} from '../../netfilter/expressions.ts';
import type { PlannedRule } from './objects.ts';
import { bitNames, durationText, protocolText, quoted, sourcesText, tcpFlagsText } from './print-values.ts';

/** What stands for a rule with expressions that we never write: the Plan doesn't have them. */
export const FOREIGN_RULE = '(not of kproxy-ts: see nft list ruleset)';

/** A rule as `nft list chain` prints it. Unlike nft, a counter is without its numbers. */
export function printRule({ expressions, comment }: PlannedRule, family: IPFamily): string {
  const statements = expressions.length === 0 ? [FOREIGN_RULE] : new RulePrinter(family).print(expressions);
  if (comment !== undefined) statements.push(`comment ${quoted(comment)}`);
  return statements.join(' ');
}

type Of<N extends ExpressionName> = Extract<Expression, { readonly name: N }>;

/** What a register holds. */
interface Loaded {
  readonly text: string;
  /** Registers of four bytes that it takes. */
  readonly words: number;
  /** How its values are written. */
  readonly value: (bytes: Buffer) => string;
  /** Its bits are compared one by one. */
  readonly isFlags?: boolean;
  /** What a bitwise expression left of it. */
  readonly mask?: Buffer;
}

const hex = (bytes: Buffer): string => `0x${bytes.toString('hex')}`;

const ADDRESSES: Readonly<Record<string, string>> = {
  '12+4': 'ip saddr',
  '16+4': 'ip daddr',
  '8+16': 'ip6 saddr',
  '24+16': 'ip6 daddr',
};
const CT_WORDS: Readonly<Record<number, Omit<Loaded, 'mask'>>> = {
  [CT.state]: { text: 'state', words: 1, isFlags: true, value: bytes => bitNames('state', bytes) },
  [CT.status]: { text: 'status', words: 1, isFlags: true, value: bytes => bitNames('status', bytes) },
  [CT.protoDst]: { text: 'proto-dst', words: 1, value: portText },
  [CT.srcIPv4]: { text: 'ip saddr', words: 1, value: addressText },
  [CT.dstIPv4]: { text: 'ip daddr', words: 1, value: addressText },
  [CT.srcIPv6]: { text: 'ip6 saddr', words: 4, value: addressText },
  [CT.dstIPv6]: { text: 'ip6 daddr', words: 4, value: addressText },
};
const DYNSET_WORDS: Readonly<Record<number, string>> = {
  0: 'add',
  [DYNSET.update]: 'update',
  [DYNSET.delete]: 'delete',
};
/** NF_NAT_RANGE_PROTO_RANDOM, NF_NAT_RANGE_PERSISTENT, NF_NAT_RANGE_PROTO_RANDOM_FULLY of linux/netfilter/nf_nat.h */
const NAT_FLAGS: readonly (readonly [number, string])[] = [
  [1 << 2, 'random'],
  [NAT.fullyRandom, 'fully-random'],
  [1 << 3, 'persistent'],
];
/** NFPROTO_IPV4, NFPROTO_IPV6 */
const NAT_FAMILIES: Readonly<Record<number, string>> = { 2: 'ip', 10: 'ip6' };
/** What `reject` alone means: ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH. */
const USUAL_REJECTION = { IPv4: 3, IPv6: 4 } as const;

class RulePrinter {
  readonly #family: IPFamily;
  readonly #registers = new Map<Register, Loaded>();
  readonly #statements: string[] = [];

  constructor(family: IPFamily) {
    this.#family = family;
  }

  print(expressions: readonly Expression[]): string[] {
    for (const expression of expressions) this.#take(expression);
    return this.#statements;
  }

  #take(expression: Expression): void {
    switch (expression.name) {
      case 'payload':
      case 'meta':
      case 'ct':
      case 'fib':
      case 'numgen':
      case 'hash':
      case 'socket':
        this.#registers.set(expression.dreg, this.#loaded(expression));
        break;
      case 'bitwise':
        this.#mask(expression);
        break;
      case 'cmp':
        this.#compare(expression);
        break;
      case 'lookup':
        this.#lookUp(expression);
        break;
      case 'immediate':
        this.#set(expression);
        break;
      default:
        this.#say(this.#statement(expression));
    }
  }

  #say(statement: string): void {
    this.#statements.push(statement);
  }

  #statement(expression: Of<'nat' | 'masq' | 'reject' | 'dynset' | 'notrack' | 'counter'>): string {
    switch (expression.name) {
      case 'nat': {
        const { type, family, addressMin } = expression;
        return `${type === NAT.dnat ? 'dnat' : 'snat'} ${NAT_FAMILIES[family] ?? family} to ${this.#at(addressMin).text}`;
      }
      case 'masq': {
        const flags = NAT_FLAGS.filter(([bit]) => (expression.flags & bit) !== 0).map(([, word]) => word);
        return ['masquerade', ...(flags.length === 0 ? [] : [flags.join(',')])].join(' ');
      }
      case 'reject':
        return this.#rejection(expression);
      case 'dynset':
        return this.#update(expression);
      case 'notrack':
      case 'counter':
        return expression.name;
    }
  }

  #loaded(expression: Of<'payload' | 'meta' | 'ct' | 'fib' | 'numgen' | 'hash' | 'socket'>): Loaded {
    switch (expression.name) {
      case 'payload':
        return payload(expression);
      case 'meta':
        return meta(expression);
      case 'ct': {
        const { text, ...known } = CT_WORDS[expression.key] ?? { text: `${expression.key}`, words: 1, value: hex };
        return { ...known, text: `ct ${expression.direction === ORIGINAL ? 'original ' : ''}${text}` };
      }
      case 'fib':
        return { text: `fib ${sourcesText(expression.flags)} type`, words: 1, value: addressTypeText };
      case 'numgen': {
        const { modulus, offset } = expression;
        return { text: `numgen random mod ${modulus}${offsetText(offset)}`, words: 1, value: hex };
      }
      case 'hash': {
        const { sreg, modulus, seed, offset } = expression;
        const told = `${seed === undefined ? '' : ` seed 0x${seed.toString(16)}`}${offsetText(offset)}`;
        return { text: `jhash ${this.#at(sreg).text} mod ${modulus}${told}`, words: 1, value: hex };
      }
      case 'socket': {
        const key = expression.key === SOCKET.wildcard ? 'wildcard' : expression.key;
        return { text: `socket ${key}`, words: 1, value: ([number = 0]) => `${number}` };
      }
    }
  }

  #at(register: Register): Loaded {
    return this.#registers.get(register) ?? { text: `(register ${register})`, words: 1, value: hex };
  }

  #mask({ sreg, dreg, mask }: Of<'bitwise'>): void {
    this.#registers.set(dreg, { ...this.#at(sreg), mask });
  }

  #compare({ sreg, op, data }: Of<'cmp'>): void {
    const { text, value, mask, isFlags = false } = this.#at(sreg);
    this.#registers.delete(sreg);
    const not = op === CMP.neq ? '!= ' : '';
    if (mask === undefined) this.#say(`${text} ${not}${value(data)}`);
    else if (isFlags && isZero(data)) this.#say(`${text} ${op === CMP.neq ? '' : '! '}${value(mask)}`);
    else this.#say(`${text} ${not}${value(data)}/${prefixLength(mask)}`);
  }

  #lookUp({ set, sreg, dreg, flags }: Of<'lookup'>): void {
    const key = this.#joined(sreg);
    if (dreg === undefined) this.#say(`${key} ${flags === LOOKUP_INVERTED ? '!= ' : ''}@${set}`);
    else if (dreg === VERDICT) this.#say(`${key} vmap @${set}`);
    else this.#registers.set(dreg, { text: `${key} map @${set}`, words: 1, value: hex });
  }

  #set({ dreg, data }: Of<'immediate'>): void {
    if (data instanceof Uint8Array) this.#registers.set(dreg, { text: hex(data), words: 1, value: hex });
    else this.#say(verdictText(data));
  }

  /** What lies side by side from a register on, as nft writes a concatenation; up to `end`, where something else begins. */
  #joined(from: Register, end = Number.POSITIVE_INFINITY): string {
    const texts: string[] = [];
    for (let at = from; at < end; ) {
      const loaded = this.#registers.get(at);
      if (loaded === undefined) break;
      texts.push(loaded.mask === undefined ? loaded.text : `${loaded.text} & ${loaded.value(loaded.mask)}`);
      at += loaded.words;
    }
    return texts.length === 0 ? this.#at(from).text : texts.join(' . ');
  }

  #rejection({ type, code }: Of<'reject'>): string {
    if (type === REJECT.tcpReset) {
      // nft leaves out the match that the statement implies.
      if (this.#statements.at(-1) === 'meta l4proto tcp') this.#statements.pop();
      return 'reject with tcp reset';
    }
    return code === USUAL_REJECTION[this.#family]
      ? 'reject'
      : `reject with ${this.#family === 'IPv4' ? 'icmp' : 'icmpv6'} ${code}`;
  }

  #update({ set, op, sregKey, sregData, timeout }: Of<'dynset'>): string {
    const limit = timeout === undefined || timeout === 0n ? '' : ` timeout ${durationText(timeout)}`;
    const data = sregData === undefined ? '' : ` : ${this.#joined(sregData, sregKey)}`;
    return `${DYNSET_WORDS[op] ?? op} @${set} { ${this.#joined(sregKey)}${limit}${data} }`;
  }
}

function payload({ base, offset, len }: Of<'payload'>): Loaded {
  const address = base === BASE.network ? ADDRESSES[`${offset}+${len}`] : undefined;
  const words = Math.ceil(len / 4);
  if (address !== undefined) return { text: address, words, value: addressText };
  if (base === BASE.transport && len === 2 && offset <= 2) {
    return { text: offset === 0 ? 'th sport' : 'th dport', words, value: portText };
  }
  if (base === BASE.transport && len === 1 && offset === TCP_FLAGS.offset) {
    return { text: 'tcp flags', words, isFlags: true, value: ([bits = 0]) => tcpFlagsText(bits) };
  }
  return { text: `@${base === BASE.network ? 'nh' : 'th'},${offset * 8},${len * 8}`, words, value: hex };
}

function meta({ key }: Of<'meta'>): Loaded {
  if (key === META.iifname) return { text: 'iifname', words: 4, value: interfaceText };
  if (key === META.oifname) return { text: 'oifname', words: 4, value: interfaceText };
  if (key === META.l4proto) return { text: 'meta l4proto', words: 1, value: ([number = 0]) => protocolText(number) };
  return { text: `meta ${key}`, words: 1, value: hex };
}

export function verdictText({ kind, chain }: Verdict): string {
  return chain === undefined ? kind : `${kind} ${chain}`;
}

/** The whole name, or with `*` where less than all its bytes are compared. */
function interfaceText(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return quoted(end === -1 ? `${bytes.toString('latin1')}*` : bytes.toString('latin1', 0, end));
}

function portText(bytes: Buffer): string {
  return String(bytes.readUInt16BE(0));
}

function addressTypeText(bytes: Buffer): string {
  const type = readHostWord(bytes);
  return type === FIB.local ? 'local' : String(type);
}

function isZero(bytes: Buffer): boolean {
  return bytes.every(byte => byte === 0);
}

function prefixLength(mask: Buffer): number {
  const bits = [...mask].map(byte => byte.toString(2).padStart(8, '0')).join('');
  const length = bits.indexOf('0');
  return length === -1 ? bits.length : length;
}

function offsetText(offset: number | undefined): string {
  return offset === undefined ? '' : ` offset ${offset}`;
}
