/**
 * One rule as iptables-save prints it, understood: what it matches and what it does. What isn't known here is an error that names the rule: a
 * match that is taken for false says of a broken rule that it does no harm.
 */

import { cidrContains, parseCIDR } from '../../net/cidr.ts';
import { canonicalIP, isLoopback } from '../../net/ip.ts';
import type { Protocol } from '../../watch/objects.ts';

/** A packet that opens a connection, as far as it has come. Addresses are canonical. */
export interface TracedPacket {
  readonly source: string;
  readonly destination: string;
  readonly destinationPort: number;
  readonly protocol: Protocol;
  /** '' for what the node itself sends. */
  readonly inInterface: string;
  readonly mark: number;
  /** Where the client sent it. */
  readonly original: { readonly destination: string; readonly destinationPort: number };
  readonly isTranslated: boolean;
  readonly isMasqueraded: boolean;
}

/** What a rule may ask about the node that isn't in the packet. */
export interface TracedNode {
  /** Whether a canonical address is the node's own. */
  readonly isLocal: (address: string) => boolean;
}

/** 'maybe': chance or the past decides, so both ways are open. */
export type Match = boolean | 'maybe';

export type Target =
  | { readonly kind: 'ACCEPT' | 'DROP' | 'REJECT' | 'RETURN' | 'MASQUERADE' }
  | { readonly kind: 'MARK'; readonly mark: (before: number) => number }
  | { readonly kind: 'DNAT'; readonly destination: string; readonly port: number | undefined }
  | { readonly kind: 'chain'; readonly name: string }
  /** The rule only counts. */
  | { readonly kind: 'none' };

export interface TracedRule {
  readonly text: string;
  readonly matches: readonly ((packet: TracedPacket, node: TracedNode) => Match)[];
  readonly target: Target;
}

/** A rule that cannot be traced. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

type Matcher = TracedRule['matches'][number];

/** Makes a match of the values behind an option; `bad` throws for a value that isn't understood. */
type OptionReader = (values: readonly string[], bad: () => never) => Matcher;

const always: Matcher = () => true;
const one = (read: (value: string, bad: () => never) => Matcher): OptionReader => {
  return ([value], bad) => (value === undefined ? bad() : read(value, bad));
};

const inRange = (value: string, bad: () => never) => {
  const ip = canonicalIP(value);
  const cidr = parseCIDR(ip === undefined ? value : `${ip}/${ip.includes(':') ? 128 : 32}`);
  return cidr === undefined ? bad() : (address: string) => cidrContains(cidr, address);
};

const isInterface = (pattern: string) => (name: string) => {
  return pattern.endsWith('+') ? name !== '' && name.startsWith(pattern.slice(0, -1)) : name === pattern;
};

const inPorts = (value: string, bad: () => never) => {
  const ranges = value.split(',').map(part => {
    const [, from, to = from] = /^(\d+)(?::(\d+))?$/.exec(part) ?? bad();
    return [Number(from), Number(to)] as const;
  });
  return (port: number) => ranges.some(([from, to]) => port >= from && port <= to);
};

/** The states of a connection's first packet: new, and translated once DNAT has had it. */
const inState = (packet: TracedPacket, state: string) => state === 'NEW' || (state === 'DNAT' && packet.isTranslated);
const STATES: ReadonlySet<string> = new Set(['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'UNTRACKED', 'DNAT', 'SNAT']);

const maskedValue = (value: string, bad: () => never) => {
  const [mark, mask = 0xffffffff] = value.split('/').map(Number);
  return mark === undefined || Number.isNaN(mark) || Number.isNaN(mask) ? bad() : { mark, mask };
};

const localAddress = (of: (packet: TracedPacket) => string) =>
  one((value, bad) => (value === 'LOCAL' ? (packet, node) => node.isLocal(of(packet)) : bad()));

/** Every option that belongs to a match, by its name as iptables-save prints it. */
const OPTIONS: Readonly<Record<string, OptionReader>> = {
  '-s': one((value, bad) => {
    const contains = inRange(value, bad);
    return packet => contains(packet.source);
  }),
  '-d': one((value, bad) => {
    const contains = inRange(value, bad);
    return packet => contains(packet.destination);
  }),
  '-i': one(value => packet => isInterface(value)(packet.inInterface)),
  '-p': one(value => packet => value === 'all' || packet.protocol.toLowerCase() === value),
  '--dport': one((value, bad) => {
    const contains = inPorts(value, bad);
    return packet => contains(packet.destinationPort);
  }),
  '--dports': one((value, bad) => {
    const contains = inPorts(value, bad);
    return packet => contains(packet.destinationPort);
  }),
  '--comment': one(() => always),
  '--nfacct-name': one(() => always),
  '--src-type': localAddress(packet => packet.source),
  '--dst-type': localAddress(packet => packet.destination),
  '--mark': one((value, bad) => {
    const { mark, mask } = maskedValue(value, bad);
    return packet => (packet.mark & mask) === mark;
  }),
  '--ctstate': one((value, bad) => {
    const states = value.split(',');
    if (!states.every(state => STATES.has(state))) bad();
    return packet => states.some(state => inState(packet, state));
  }),
  '--ctdir': one((value, bad) => (value === 'ORIGINAL' ? always : value === 'REPLY' ? () => false : bad())),
  '--ctorigdst': one((value, bad) => {
    const contains = inRange(value, bad);
    return packet => contains(packet.original.destination);
  }),
  '--ctorigdstport': one((value, bad) => {
    const contains = inPorts(value, bad);
    return packet => contains(packet.original.destinationPort);
  }),
  '--mode': one((value, bad) => (value === 'random' ? always : bad())),
  '--probability': one((value, bad) => {
    const chance = Number(value);
    if (Number.isNaN(chance)) bad();
    return () => (chance >= 1 ? true : chance <= 0 ? false : 'maybe');
  }),
  // Whether the client was here before isn't known: it may have been.
  '--rcheck': () => () => 'maybe',
  '--update': () => () => 'maybe',
  '--set': () => always,
  '--seconds': one(() => always),
  '--reap': () => always,
  '--name': one(() => always),
  '--mask': one(() => always),
  '--rsource': () => always,
};

const MATCH_MODULES: ReadonlySet<string> = new Set([
  ...['comment', 'addrtype', 'mark', 'conntrack', 'statistic', 'recent', 'nfacct', 'multiport'],
  ...['tcp', 'udp', 'sctp'],
]);

interface Option {
  readonly name: string;
  readonly isNegated: boolean;
  readonly values: readonly string[];
}

/** Reads one rule, without the leading `-A CHAIN`. @throws TraceError for what isn't known here */
export function readRule(text: string): TracedRule {
  const options = optionsOf(wordsOf(text));
  const jumpAt = options.findIndex(({ name }) => name === '-j');
  const matching = jumpAt < 0 ? options : options.slice(0, jumpAt);
  const matches = matching.flatMap(option => matcherOf(option, text));
  return { text, matches, target: jumpAt < 0 ? { kind: 'none' } : targetOf(options.slice(jumpAt), text) };
}

function matcherOf({ name, isNegated, values }: Option, text: string): Matcher[] {
  const bad = (): never => {
    throw new TraceError(`cannot trace ${[name, ...values].join(' ')} in the rule: ${text}`);
  };
  if (name === '-m') return MATCH_MODULES.has(values[0] ?? '') && values.length === 1 ? [] : bad();
  const read = OPTIONS[name] ?? bad();
  const match = read(values, bad);
  if (!isNegated) return [match];
  return [
    (packet, node) => {
      const found = match(packet, node);
      return found === 'maybe' ? found : !found;
    },
  ];
}

/** Words as a shell would split them: iptables-save quotes with double quotes and escapes with backslashes. */
function wordsOf(text: string): string[] {
  return [...text.matchAll(/"((?:\\.|[^"\\])*)"|(\S+)/g)].map(([, quoted, bare]) => {
    return quoted === undefined ? (bare ?? '') : `"${quoted.replaceAll(/\\(.)/g, '$1')}`;
  });
}

/** A quoted word, which never is an option, keeps its first quote until here. */
function optionsOf(words: readonly string[]): Option[] {
  const options: { name: string; isNegated: boolean; values: string[] }[] = [];
  let isNegated = false;
  for (const word of words) {
    if (word === '!') isNegated = true;
    else if (/^--?[a-z]/.test(word)) {
      options.push({ name: word, isNegated, values: [] });
      isNegated = false;
    } else {
      const last = options.at(-1);
      if (last === undefined) throw new TraceError(`cannot trace ${word} in the rule: ${words.join(' ')}`);
      last.values.push(word.startsWith('"') ? word.slice(1) : word);
    }
  }
  return options;
}

function targetOf([jump, ...rest]: readonly Option[], text: string): Target {
  const bad = (): never => {
    throw new TraceError(`cannot trace the target of the rule: ${text}`);
  };
  const name = jump?.values[0] ?? bad();
  const option = (wanted: string) => rest.find(candidate => candidate.name === wanted)?.values[0];
  const allow = (...names: string[]) => rest.every(candidate => names.includes(candidate.name)) || bad();
  switch (name) {
    case 'ACCEPT':
    case 'DROP':
    case 'RETURN':
      allow();
      return { kind: name };
    case 'REJECT':
      allow('--reject-with');
      return { kind: name };
    case 'MASQUERADE':
      allow('--random', '--random-fully');
      return { kind: name };
    case 'MARK':
      allow('--set-xmark', '--set-mark', '--or-mark');
      return { kind: name, mark: marking(option, bad) };
    case 'DNAT':
      allow('--to-destination', '--random', '--persistent');
      return { kind: name, ...destinationOf(option('--to-destination') ?? '', bad) };
    default:
      // Chains have no options; what has is a target that isn't known here.
      return rest.length === 0 ? { kind: 'chain', name } : bad();
  }
}

function marking(option: (name: string) => string | undefined, bad: () => never): (before: number) => number {
  const or = option('--or-mark');
  if (or !== undefined) return before => (before | maskedValue(or, bad).mark) >>> 0;
  const set = option('--set-mark');
  const { mark, mask } = maskedValue(option('--set-xmark') ?? set ?? bad(), bad);
  // --set-xmark clears the bits of the mask and xors; --set-mark clears the bits of the mask and ors.
  return before => (set === undefined ? ((before & ~mask) ^ mark) >>> 0 : ((before & ~mask) | mark) >>> 0);
}

function destinationOf(text: string, bad: () => never): { destination: string; port: number | undefined } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+|[0-9a-f:]+))(?::(\d+))?$/.exec(text) ?? bad();
  const destination = canonicalIP(bracketed ?? plain ?? '') ?? bad();
  return { destination, port: port === undefined ? undefined : Number(port) };
}

/** A node with these addresses; loopback always is its own. */
export function nodeWith(addresses: Iterable<string>): TracedNode {
  const own = new Set(addresses);
  return { isLocal: address => own.has(address) || isLoopback(address) };
}
