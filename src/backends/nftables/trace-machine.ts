/** nf_tables' virtual machine, as far as our rules use it: what a rule makes of a packet, by every way that chance may take. Pure. */

import { addressBytes, addressText } from '../../net/address-bytes.ts';
import type { IPFamily } from '../../net/ip.ts';
import { hostWord } from '../../netfilter/attributes.ts';
import {
  CT,
  CT_STATE,
  CT_STATUS_DNAT,
  type Expression,
  FIB,
  META,
  VERDICT,
  type Verdict,
} from '../../netfilter/expressions.ts';
import type { Element } from '../../netfilter/messages.ts';
import type { Protocol } from '../../watch/objects.ts';
import { endpointBytes, frontendBytes } from './bytes.ts';
import { layoutOf } from './packet.ts';

/** A rule that cannot be traced. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** A packet that opens a connection, as far as it has come. Addresses are canonical. */
export interface TracedPacket {
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** The interface it comes in by; '' for what the node itself sends. */
  readonly inInterface: string;
  /** Where the client sent it. */
  readonly original: { readonly destination: string; readonly port: number };
  readonly isTranslated: boolean;
  readonly isMasqueraded: boolean;
  readonly path: readonly string[];
}

/** The elements of a set by their key's bytes; those that are ranges in a list. */
export interface TracedSet {
  readonly byKey: Map<string, Element>;
  readonly ranges: Element[];
}

export interface Surroundings {
  readonly family: IPFamily;
  readonly sets: ReadonlyMap<string, TracedSet>;
  /** Whether an address is the node's own. */
  readonly isLocal: (address: string) => boolean;
}

export type End = 'accept' | 'DROP' | 'REJECT';

/** The state of a rule's evaluation. */
export interface Machine {
  readonly registers: Buffer;
  readonly packet: TracedPacket;
  readonly verdict?: Verdict;
  readonly end?: End;
}

const PROTOCOLS: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

export class RuleMachine {
  readonly #around: Surroundings;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  /** Each way that a rule may end; without verdict or end: it goes on with the next rule. */
  rule(expressions: readonly Expression[], packet: TracedPacket): Machine[] {
    let running: Machine[] = [{ registers: Buffer.alloc(64), packet }];
    const broken: Machine[] = [];
    for (const expression of expressions) {
      const next: Machine[] = [];
      for (const machine of running) {
        const after = this.#step(expression, machine);
        if (after.length === 0) broken.push({ registers: machine.registers, packet: machine.packet });
        next.push(...after);
      }
      running = next;
    }
    return [...running, ...broken];
  }

  /** The machine after an expression; several where chance decides; none where the rule doesn't match. */
  #step(expression: Expression, machine: Machine): Machine[] {
    const { registers, packet } = machine;
    const store = (at: number, bytes: Buffer): Machine[] => {
      if (expression.name !== 'cmp' && at === VERDICT) throw new TraceError('a value for a verdict');
      const copy = Buffer.from(registers);
      copy.fill(0, at * 4, at * 4 + ((bytes.length + 3) & ~3));
      bytes.copy(copy, at * 4);
      return [{ ...machine, registers: copy }];
    };
    const load = (at: number, bytes: number) => registers.subarray(at * 4, at * 4 + bytes);
    switch (expression.name) {
      case 'payload':
        return store(expression.dreg, this.#payload(expression, packet));
      case 'meta':
        return store(expression.dreg, metaOf(expression.key, packet));
      case 'ct':
        return store(expression.dreg, conntrack(expression.key, packet));
      case 'fib': {
        const address = expression.flags === FIB.saddr ? packet.source : packet.destination;
        return store(expression.dreg, hostWord(this.#around.isLocal(address) ? FIB.local : 1));
      }
      case 'bitwise': {
        const value = load(expression.sreg, expression.len);
        return store(
          expression.dreg,
          Buffer.from(value.map((byte, i) => (byte & expression.mask[i]!) ^ expression.xor[i]!)),
        );
      }
      case 'cmp': {
        const isEqual = load(expression.sreg, expression.data.length).equals(expression.data);
        return isEqual === (expression.op === 0) ? [machine] : [];
      }
      case 'numgen':
      case 'hash': {
        const first = expression.offset ?? 0;
        return Array.from({ length: expression.modulus }, (_, i) => store(expression.dreg, hostWord(first + i))).flat();
      }
      case 'immediate':
        if (expression.data instanceof Uint8Array) return store(expression.dreg, expression.data);
        return [{ ...machine, verdict: expression.data }];
      case 'lookup':
        return this.#lookup(expression, machine, store);
      case 'nat': {
        const { bytes } = layoutOf(this.#around.family).address;
        const destination = addressText(load(expression.addressMin, bytes));
        const port = load(expression.protoMin, 2).readUInt16BE(0);
        return [{ ...machine, packet: { ...packet, destination, port, isTranslated: true }, end: 'accept' }];
      }
      case 'masq':
        return [{ ...machine, packet: { ...packet, isMasqueraded: true }, end: 'accept' }];
      case 'reject':
        return [{ ...machine, end: 'REJECT' }];
      case 'dynset':
      case 'notrack':
      case 'counter':
        return [machine];
      case 'socket':
        throw new TraceError('no packet has a socket here');
    }
  }

  #payload({ base, offset, len }: Extract<Expression, { name: 'payload' }>, packet: TracedPacket): Buffer {
    const { sourceOffset, destinationOffset, address } = layoutOf(this.#around.family);
    if (base === 1 && len === address.bytes && offset === sourceOffset) return addressBytes(packet.source);
    if (base === 1 && len === address.bytes && offset === destinationOffset) return addressBytes(packet.destination);
    if (base === 2 && len === 2 && offset === 2) return endpointBytes(`0.0.0.0:${packet.port}`).subarray(4, 6);
    throw new TraceError(`bytes of a packet that aren't known here: base ${base}, ${len} at ${offset}`);
  }

  #lookup(
    { set, sreg, dreg, flags = 0 }: Extract<Expression, { name: 'lookup' }>,
    machine: Machine,
    store: (at: number, bytes: Buffer) => Machine[],
  ): Machine[] {
    const elements = this.#around.sets.get(set);
    if (elements === undefined) throw new TraceError(`no set ${set}`);
    const bytes = machine.registers.subarray(sreg * 4);
    const found = findElement(elements, bytes);
    if (dreg === undefined) return (found === undefined) === (flags === 1) ? [machine] : [];
    if (found?.data === undefined) return [];
    return found.data instanceof Uint8Array ? store(dreg, found.data) : [{ ...machine, verdict: found.data }];
  }
}

function findElement({ byKey, ranges }: TracedSet, bytes: Buffer): Element | undefined {
  const [first] = byKey.values();
  if (first !== undefined) return byKey.get(bytes.toString('latin1', 0, first.key.length));
  // Each field of a range stands in whole registers, which compare as numbers do.
  return ranges.find(({ key, keyEnd }) => keyEnd !== undefined && isWithin(bytes, key, keyEnd));
}

function isWithin(bytes: Buffer, key: Buffer, keyEnd: Buffer): boolean {
  const width = key.length - clientAt(key);
  const fixed = key.length - width;
  if (!bytes.subarray(0, fixed).equals(key.subarray(0, fixed))) return false;
  const value = bytes.subarray(fixed, key.length);
  return value.compare(key.subarray(fixed)) >= 0 && value.compare(keyEnd.subarray(fixed)) <= 0;
}

/** Where the client's address begins in a key of frontend and client. */
function clientAt(key: Buffer): number {
  return (key.length - 8) / 2 + 8;
}

function metaOf(key: number, { protocol, inInterface }: TracedPacket): Buffer {
  if (key === META.l4proto) return Buffer.of(PROTOCOLS[protocol]);
  if (key === META.iifname) return Buffer.concat([Buffer.from(inInterface, 'latin1')], 16);
  throw new TraceError(`a fact of a packet that isn't known here: meta ${key}`);
}

function conntrack(key: number, { original, protocol, isTranslated }: TracedPacket): Buffer {
  switch (key) {
    case CT.state:
      return hostWord(CT_STATE.new);
    case CT.status:
      return hostWord(isTranslated ? CT_STATUS_DNAT : 0);
    case CT.dstIPv4:
    case CT.dstIPv6:
      return addressBytes(original.destination);
    case CT.protoDst: {
      const family = original.destination.includes(':') ? 'IPv6' : 'IPv4';
      const frontend = frontendBytes({ ip: original.destination, port: original.port, protocol }, family);
      return frontend.subarray(-4, -2);
    }
    default:
      throw new TraceError(`a fact of a connection that isn't known here: ct ${key}`);
  }
}
