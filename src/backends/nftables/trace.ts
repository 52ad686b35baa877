/** Where a packet goes by the chains and sets of our table: every way that chance or the past may take. Pure. */

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
import { addressBytes, addressText, endpointBytes, frontendBytes } from './bytes.ts';
import { elementsOf } from './elements.ts';
import type { ChainObject, NftObject } from './objects.ts';
import { layoutOf } from './packet.ts';

/** A packet that opens a connection. Addresses are canonical. */
export interface OpeningPacket {
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** The interface it comes in by; '' for what the node itself sends. */
  readonly inInterface: string;
}

/** Where a packet may end. */
export interface Landing {
  /** `delivered`: no rule stops it. */
  readonly verdict: 'delivered' | 'DROP' | 'REJECT';
  readonly destination: string;
  readonly port: number;
  /** A rule chose this destination. */
  readonly isTranslated: boolean;
  readonly isMasqueraded: boolean;
  /** The chains on the way, with the number of each rule that decided. */
  readonly path: readonly string[];
}

export interface Ruleset {
  readonly family: IPFamily;
  readonly chains: ReadonlyMap<string, ChainObject>;
  /** Elements by set, and there by the key's bytes; ranges in a list. */
  readonly sets: ReadonlyMap<string, { readonly byKey: Map<string, Element>; readonly ranges: Element[] }>;
}

/** A rule that cannot be traced. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** The ruleset that the objects of a Plan are. */
export function rulesetOf(plan: ReadonlyMap<string, NftObject>, family: IPFamily): Ruleset {
  const chains = new Map<string, ChainObject>();
  const sets = new Map<string, { byKey: Map<string, Element>; ranges: Element[] }>();
  for (const object of plan.values()) {
    if (object.kind === 'chain') chains.set(object.name, object);
    if (object.kind === 'set') sets.set(object.spec.name, { byKey: new Map(), ranges: [] });
  }
  for (const object of plan.values()) {
    for (const element of elementsOf(object, family)) {
      const set = sets.get(element.set);
      if (set === undefined) throw new TraceError(`no set ${element.set}`);
      if (element.keyEnd === undefined) set.byKey.set(element.key.toString('latin1'), element);
      else set.ranges.push(element);
    }
  }
  return { family, chains, sets };
}

interface Packet {
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly inInterface: string;
  readonly original: { readonly destination: string; readonly port: number };
  readonly isTranslated: boolean;
  readonly isMasqueraded: boolean;
  readonly path: readonly string[];
}

type End = 'accept' | 'DROP' | 'REJECT';
interface Passed {
  readonly packet: Packet;
  /** undefined: the chain has nothing to say. */
  readonly end?: End;
}

const HOOK = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
const PROTOCOLS: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const DEPTH_LIMIT = 16;

/** Every end that the packet may come to, each once. `isLocal`: whether an address is the node's own. @throws TraceError */
export function trace(
  ruleset: Ruleset,
  opening: OpeningPacket,
  isLocal: (address: string) => boolean,
): readonly Landing[] {
  const walk = new Walk(ruleset, isLocal);
  const { source, destination, port, protocol, inInterface } = opening;
  const packet: Packet = {
    ...{ source, destination, port, protocol, inInterface, original: { destination, port } },
    ...{ isTranslated: false, isMasqueraded: false, path: [] },
  };
  const isFromNode = inInterface === '';
  const landings = walk
    .hook('nat', isFromNode ? HOOK.output : HOOK.prerouting, packet)
    .flatMap(passed => (isFromNode ? sent(walk, passed.packet, isLocal) : received(walk, passed.packet, isLocal)));
  return distinct(landings);
}

function received(walk: Walk, packet: Packet, isLocal: (address: string) => boolean): Landing[] {
  if (isLocal(packet.destination)) return walk.hook('filter', HOOK.input, packet).map(landing);
  return walk.hook('filter', HOOK.forward, packet).flatMap(passed => rewritten(walk, passed).map(landing));
}

/** By the loopback interface to the node itself nat isn't asked again. */
function sent(walk: Walk, packet: Packet, isLocal: (address: string) => boolean): Landing[] {
  const isToItself = isLocal(packet.destination);
  return walk
    .hook('filter', HOOK.output, packet)
    .flatMap(passed => rewritten(walk, passed))
    .flatMap(passed => {
      if (isStopped(passed) || !isToItself) return [landing(passed)];
      return walk.hook('filter', HOOK.input, { ...passed.packet, inInterface: 'lo' }).map(landing);
    });
}

function rewritten(walk: Walk, passed: Passed): Passed[] {
  return isStopped(passed) ? [passed] : walk.hook('nat', HOOK.postrouting, passed.packet);
}

function isStopped({ end }: Passed): boolean {
  return end === 'DROP' || end === 'REJECT';
}

function landing(passed: Passed): Landing {
  const { destination, port, isTranslated, isMasqueraded, path } = passed.packet;
  const verdict = passed.end === 'DROP' || passed.end === 'REJECT' ? passed.end : 'delivered';
  return { verdict, destination, port, isTranslated, isMasqueraded, path };
}

function distinct(landings: readonly Landing[]): Landing[] {
  const found = new Map(landings.map(end => [JSON.stringify({ ...end, path: undefined }), end]));
  return [...found.values()];
}

/** The state of a rule's evaluation. */
interface Machine {
  readonly registers: Buffer;
  readonly packet: Packet;
  readonly verdict?: Verdict;
  readonly end?: End;
}

class Walk {
  readonly #ruleset: Ruleset;
  readonly #isLocal: (address: string) => boolean;

  constructor(ruleset: Ruleset, isLocal: (address: string) => boolean) {
    this.#ruleset = ruleset;
    this.#isLocal = isLocal;
  }

  /** What becomes of a packet at a hook, by the base chains of a type there. */
  hook(type: 'nat' | 'filter', hook: number, packet: Packet): Passed[] {
    let here: Passed[] = [{ packet }];
    for (const [name, { base }] of this.#ruleset.chains) {
      if (base?.type !== type || base.hook !== hook) continue;
      here = here.flatMap(passed => (isStopped(passed) ? [passed] : this.#chain(name, passed.packet, 0)));
    }
    return here;
  }

  #chain(name: string, packet: Packet, depth: number): Passed[] {
    const chain = this.#ruleset.chains.get(name);
    if (chain === undefined) throw new TraceError(`no chain ${name}`);
    if (depth > DEPTH_LIMIT) throw new TraceError(`jumps from ${name} lead back to it`);
    const done: Passed[] = [];
    let here = [packet];
    for (const [index, rule] of chain.rules.entries()) {
      const next: Packet[] = [];
      for (const before of here) {
        for (const { packet: after, verdict, end } of this.#rule(rule.expressions, before)) {
          const told = { ...after, path: [...after.path, `${name} ${index + 1}`] };
          if (end !== undefined) done.push({ packet: told, end });
          else if (verdict === undefined) next.push(after);
          else this.#follow(verdict, { packet: told, depth, done, next });
        }
      }
      here = next;
    }
    return [...done, ...here.map(rest => ({ packet: rest }))];
  }

  #follow(
    { kind, chain = '' }: Verdict,
    { packet, depth, done, next }: { packet: Packet; depth: number; done: Passed[]; next: Packet[] },
  ): void {
    switch (kind) {
      case 'accept':
        done.push({ packet, end: 'accept' });
        return;
      case 'drop':
        done.push({ packet, end: 'DROP' });
        return;
      case 'return':
        done.push({ packet });
        return;
      case 'goto':
        done.push(...this.#chain(chain, packet, depth + 1));
        return;
      case 'jump':
        for (const passed of this.#chain(chain, packet, depth + 1)) {
          if (passed.end === undefined) next.push(passed.packet);
          else done.push(passed);
        }
    }
  }

  /** Each way that a rule may end; without verdict or end: it goes on with the next rule. */
  #rule(expressions: readonly Expression[], packet: Packet): Machine[] {
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
        return store(expression.dreg, hostWord(this.#isLocal(address) ? FIB.local : 1));
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
      case 'numgen': {
        const first = expression.offset ?? 0;
        return Array.from({ length: expression.modulus }, (_, i) => store(expression.dreg, hostWord(first + i))).flat();
      }
      case 'hash':
        return Array.from({ length: expression.modulus }, (_, i) => store(expression.dreg, hostWord(i))).flat();
      case 'immediate':
        if (expression.data instanceof Uint8Array) return store(expression.dreg, expression.data);
        return [{ ...machine, verdict: expression.data }];
      case 'lookup':
        return this.#lookup(expression, machine, store);
      case 'nat': {
        const { bytes } = layoutOf(this.#ruleset.family).address;
        const destination = addressText(load(expression.addressMin, bytes));
        const port = load(expression.protoMin, 2).readUInt16BE(0);
        return [{ ...machine, packet: { ...packet, destination, port, isTranslated: true }, end: 'accept' }];
      }
      case 'masq':
        return [{ ...machine, packet: { ...packet, isMasqueraded: true }, end: 'accept' }];
      case 'reject':
        return [{ ...machine, end: 'REJECT' }];
      case 'dynset':
      case 'counter':
        return [machine];
    }
  }

  #payload({ base, offset, len }: Extract<Expression, { name: 'payload' }>, packet: Packet): Buffer {
    const { sourceOffset, destinationOffset, address } = layoutOf(this.#ruleset.family);
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
    const elements = this.#ruleset.sets.get(set);
    if (elements === undefined) throw new TraceError(`no set ${set}`);
    const bytes = machine.registers.subarray(sreg * 4);
    const found = findElement(elements, bytes);
    if (dreg === undefined) return (found === undefined) === (flags === 1) ? [machine] : [];
    if (found?.data === undefined) return [];
    return found.data instanceof Uint8Array ? store(dreg, found.data) : [{ ...machine, verdict: found.data }];
  }
}

type Elements = Ruleset['sets'] extends ReadonlyMap<string, infer E> ? E : never;

function findElement({ byKey, ranges }: Elements, bytes: Buffer): Element | undefined {
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

function metaOf(key: number, { protocol, inInterface }: Packet): Buffer {
  if (key === META.l4proto) return Buffer.of(PROTOCOLS[protocol]);
  if (key === META.iifname) return Buffer.concat([Buffer.from(inInterface, 'latin1')], 16);
  throw new TraceError(`a fact of a packet that isn't known here: meta ${key}`);
}

function conntrack(key: number, { original, protocol, isTranslated }: Packet): Buffer {
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
