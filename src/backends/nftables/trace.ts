/** Where a packet goes by the chains and sets of our table: every way that chance or the past may take. Pure. */

import type { IPFamily } from '../../net/ip.ts';
import type { Verdict } from '../../netfilter/expressions.ts';
import type { Protocol } from '../../watch/objects.ts';
import { elementsOf } from './elements.ts';
import { HOOK } from './hooks.ts';
import type { ChainObject, NftObject } from './objects.ts';
import { type End, RuleMachine, type TracedPacket, type TracedSet, TraceError } from './trace-machine.ts';

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
  readonly sets: ReadonlyMap<string, TracedSet>;
}

/** The ruleset that the objects of a Plan are. */
export function rulesetOf(plan: ReadonlyMap<string, NftObject>, family: IPFamily): Ruleset {
  const chains = new Map<string, ChainObject>();
  const sets = new Map<string, TracedSet>();
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

interface Passed {
  readonly packet: TracedPacket;
  /** undefined: the chain has nothing to say. */
  readonly end?: End;
}

const DEPTH_LIMIT = 16;

/** Every end that the packet may come to, each once. `isLocal`: whether an address is the node's own. @throws TraceError */
export function trace(
  ruleset: Ruleset,
  opening: OpeningPacket,
  isLocal: (address: string) => boolean,
): readonly Landing[] {
  const walk = new Walk(ruleset, isLocal);
  const { source, destination, port, protocol, inInterface } = opening;
  const packet: TracedPacket = {
    ...{ source, destination, port, protocol, inInterface, original: { destination, port } },
    ...{ isTranslated: false, isMasqueraded: false, path: [] },
  };
  const isFromNode = inInterface === '';
  const landings = walk
    .hook('nat', isFromNode ? HOOK.output : HOOK.prerouting, packet)
    .flatMap(passed => (isFromNode ? sent(walk, passed.packet, isLocal) : received(walk, passed.packet, isLocal)));
  return distinct(landings);
}

function received(walk: Walk, packet: TracedPacket, isLocal: (address: string) => boolean): Landing[] {
  if (isLocal(packet.destination)) return walk.hook('filter', HOOK.input, packet).map(landing);
  return walk.hook('filter', HOOK.forward, packet).flatMap(passed => rewritten(walk, passed).map(landing));
}

/** By the loopback interface to the node itself nat isn't asked again. */
function sent(walk: Walk, packet: TracedPacket, isLocal: (address: string) => boolean): Landing[] {
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

class Walk {
  readonly #ruleset: Ruleset;
  readonly #machine: RuleMachine;

  constructor(ruleset: Ruleset, isLocal: (address: string) => boolean) {
    this.#ruleset = ruleset;
    this.#machine = new RuleMachine({ ...ruleset, isLocal });
  }

  /** What becomes of a packet at a hook, by the base chains of a type there. */
  hook(type: 'nat' | 'filter', hook: number, packet: TracedPacket): Passed[] {
    let here: Passed[] = [{ packet }];
    for (const [name, { base }] of this.#ruleset.chains) {
      if (base?.type !== type || base.hook !== hook) continue;
      here = here.flatMap(passed => (isStopped(passed) ? [passed] : this.#chain(name, passed.packet, 0)));
    }
    return here;
  }

  #chain(name: string, packet: TracedPacket, depth: number): Passed[] {
    const chain = this.#ruleset.chains.get(name);
    if (chain === undefined) throw new TraceError(`no chain ${name}`);
    if (depth > DEPTH_LIMIT) throw new TraceError(`jumps from ${name} lead back to it`);
    const done: Passed[] = [];
    let here = [packet];
    for (const [index, rule] of chain.rules.entries()) {
      const next: TracedPacket[] = [];
      for (const before of here) {
        for (const { packet: after, verdict, end } of this.#machine.rule(rule.expressions, before)) {
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
    { packet, depth, done, next }: { packet: TracedPacket; depth: number; done: Passed[]; next: TracedPacket[] },
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
}
