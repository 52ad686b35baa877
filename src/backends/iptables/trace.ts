/** Where a packet goes by the rules of nat and filter as iptables-save prints them: every way that chance or the past may take. Pure. */
import type { Protocol } from '../../watch/objects.ts';
import { readRule, type TracedNode, type TracedPacket, type TracedRule, TraceError } from './trace-rule.ts';

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
  /** A rule of filter lets it pass whatever the chain's policy is. */
  readonly isAccepted: boolean;
  /** The rules that matched on the way, as `table/CHAIN rule`. */
  readonly path: readonly string[];
}

/** Rules by `table/CHAIN`. */
export type Ruleset = ReadonlyMap<string, readonly TracedRule[]>;

/** The rules of iptables-save's output, of one table or more. @throws TraceError for a rule that cannot be traced */
export function rulesetOf(saved: string): Ruleset {
  const chains = new Map<string, TracedRule[]>();
  let table = '';
  for (const line of saved.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1);
    else if (line.startsWith(':')) chains.set(`${table}/${line.slice(1, line.indexOf(' '))}`, []);
    else if (line.startsWith('-A ')) {
      const [, chain = '', rule = ''] = /^-A (\S+) ?(.*)$/.exec(line) ?? [];
      const rules = chains.get(`${table}/${chain}`);
      if (rules === undefined) throw new TraceError(`no chain ${table}/${chain} for the rule: ${rule}`);
      rules.push(readRule(rule));
    }
  }
  return chains;
}

interface Traveller {
  readonly packet: TracedPacket;
  readonly path: readonly string[];
}

interface Ended extends Traveller {
  readonly verdict: 'ACCEPT' | 'DROP' | 'REJECT';
}

/** What becomes of packets in a chain: some are decided, the others leave it at its end or by RETURN. */
interface Passage {
  readonly ended: readonly Ended[];
  readonly left: readonly Traveller[];
}

/** Longer chains of jumps are a loop, which the kernel wouldn't have taken. */
const DEPTH_LIMIT = 16;

/** Every end that the packet may come to, each once. @throws TraceError when a rule jumps to a chain that isn't there */
export function trace(ruleset: Ruleset, opening: OpeningPacket, node: TracedNode): readonly Landing[] {
  const walk = new Walk(ruleset, node);
  const { source, destination, port, protocol, inInterface } = opening;
  const packet: TracedPacket = {
    ...{ source, destination, destinationPort: port, protocol, inInterface },
    ...{ mark: 0, isTranslated: false, isMasqueraded: false },
    original: { destination, destinationPort: port },
  };
  const isFromNode = inInterface === '';
  const translated = walk.table('nat', isFromNode ? 'OUTPUT' : 'PREROUTING', [{ packet, path: [] }]);
  const landings = translated.flatMap(traveller => {
    if ('verdict' in traveller && traveller.verdict !== 'ACCEPT') return [landing(traveller, false)];
    return isFromNode ? sent(walk, traveller, node) : received(walk, traveller, node);
  });
  return distinct(landings);
}

/** What comes by an interface: for the node itself, or to be forwarded. */
function received(walk: Walk, traveller: Traveller, node: TracedNode): Landing[] {
  if (node.isLocal(traveller.packet.destination)) return filtered(walk, 'INPUT', [traveller]);
  return filtered(walk, 'FORWARD', [traveller], passed => walk.table('nat', 'POSTROUTING', [passed]));
}

/** What the node sends: to others, or by the loopback interface to itself, where nat isn't asked again. */
function sent(walk: Walk, traveller: Traveller, node: TracedNode): Landing[] {
  const isToItself = node.isLocal(traveller.packet.destination);
  const out = walk.table('filter', 'OUTPUT', [traveller]);
  return out.flatMap(passed => {
    if (isStopped(passed)) return [landing(passed, false)];
    const after = walk.table('nat', 'POSTROUTING', [passed]);
    if (!isToItself) return after.map(end => landing(end, isAccepted(passed)));
    return after.flatMap(({ packet, path }) =>
      filtered(walk, 'INPUT', [{ packet: { ...packet, inInterface: 'lo' }, path }]),
    );
  });
}

function filtered(
  walk: Walk,
  chain: string,
  travellers: readonly Traveller[],
  then: (passed: Traveller) => readonly Traveller[] = passed => [passed],
): Landing[] {
  return walk.table('filter', chain, travellers).flatMap(passed => {
    if (isStopped(passed)) return [landing(passed, false)];
    return then(passed).map(end => landing(end, isAccepted(passed)));
  });
}

function isAccepted(traveller: Traveller | Ended): boolean {
  return 'verdict' in traveller && traveller.verdict === 'ACCEPT';
}

function isStopped(traveller: Traveller | Ended): traveller is Ended {
  return 'verdict' in traveller && traveller.verdict !== 'ACCEPT';
}

function landing(traveller: Traveller | Ended, accepted: boolean): Landing {
  const { packet, path } = traveller;
  const { destination, destinationPort: port, isTranslated, isMasqueraded } = packet;
  const verdict = 'verdict' in traveller && traveller.verdict !== 'ACCEPT' ? traveller.verdict : 'delivered';
  return { verdict, destination, port, isTranslated, isMasqueraded, isAccepted: accepted, path };
}

function distinct(landings: readonly Landing[]): Landing[] {
  const found = new Map<string, Landing>();
  for (const end of landings) {
    const key = JSON.stringify({ ...end, path: undefined });
    if (!found.has(key)) found.set(key, end);
  }
  return [...found.values()];
}

/** One packet's way, and all that it may be. */
class Walk {
  readonly #ruleset: Ruleset;
  readonly #node: TracedNode;

  constructor(ruleset: Ruleset, node: TracedNode) {
    this.#ruleset = ruleset;
    this.#node = node;
  }

  /** The travellers after a built-in chain; those without a verdict have come to its policy. */
  table(table: string, chain: string, travellers: readonly Traveller[]): readonly (Traveller | Ended)[] {
    // A verdict is one table's: the next asks anew.
    const fresh = travellers.map(({ packet, path }) => ({ packet, path }));
    if (!this.#ruleset.has(`${table}/${chain}`)) return fresh;
    const { ended, left } = this.#chain(table, chain, fresh, 0);
    return [...ended, ...left];
  }

  #chain(table: string, name: string, travellers: readonly Traveller[], depth: number): Passage {
    const rules = this.#ruleset.get(`${table}/${name}`);
    if (rules === undefined) throw new TraceError(`no chain ${table}/${name}`);
    if (depth > DEPTH_LIMIT) throw new TraceError(`jumps from ${table}/${name} lead back to it`);
    const ended: Ended[] = [];
    const left: Traveller[] = [];
    let here = travellers;
    for (const rule of rules) {
      const next: Traveller[] = [];
      for (const traveller of here) {
        const match = this.#match(rule, traveller.packet);
        if (match !== true) next.push(traveller);
        if (match === false) continue;
        const path = [...traveller.path, `${table}/${name} ${rule.text}`];
        const passage = this.#take(rule, table, { packet: traveller.packet, path }, depth);
        ended.push(...passage.ended);
        if (rule.target.kind === 'RETURN') left.push(...passage.left);
        else next.push(...passage.left);
      }
      here = merged(next);
    }
    return { ended, left: merged([...left, ...here]) };
  }

  #match({ matches }: TracedRule, packet: TracedPacket): boolean | 'maybe' {
    const found = matches.map(match => match(packet, this.#node));
    if (found.includes(false)) return false;
    return found.includes('maybe') ? 'maybe' : true;
  }

  #take({ target }: TracedRule, table: string, traveller: Traveller, depth: number): Passage {
    const { packet, path } = traveller;
    const end = (verdict: Ended['verdict'], change: Partial<TracedPacket> = {}): Passage => {
      return { ended: [{ packet: { ...packet, ...change }, path, verdict }], left: [] };
    };
    switch (target.kind) {
      case 'chain':
        return this.#chain(table, target.name, [traveller], depth + 1);
      case 'none':
      case 'RETURN':
        return { ended: [], left: [traveller] };
      case 'MARK':
        return { ended: [], left: [{ packet: { ...packet, mark: target.mark(packet.mark) }, path }] };
      case 'DNAT':
        return end('ACCEPT', {
          destination: target.destination,
          destinationPort: target.port ?? packet.destinationPort,
          isTranslated: true,
        });
      case 'MASQUERADE':
        return end('ACCEPT', { isMasqueraded: true });
      default:
        return end(target.kind);
    }
  }
}

/** Packets that are alike go on as one: else each `statistic` would double them. */
function merged(travellers: readonly Traveller[]): readonly Traveller[] {
  if (travellers.length < 2) return travellers;
  const byPacket = new Map<string, Traveller>();
  for (const traveller of travellers) {
    const key = JSON.stringify(traveller.packet);
    if (!byPacket.has(key)) byPacket.set(key, traveller);
  }
  return [...byPacket.values()];
}
