/**
 * The tables that have the packets of a DNS Service delivered on this node. Pure. docs/dns.md ("Served on the node") has them as nft lists them, and says
 * what each is for.
 */

import { frontendBytes } from '../../backends/nftables/bytes.ts';
import { filterAt, HOOK, PRIORITY } from '../../backends/nftables/hooks.ts';
import type { ChainObject, PlannedRule } from '../../backends/nftables/objects.ts';
import {
  destination,
  destinationPort,
  type FamilyLayout,
  FLOW_STATE,
  hasBits,
  layoutOf,
  source,
} from '../../backends/nftables/packet.ts';
import type { TableSpec as AnyTable, FilledSet } from '../../backends/nftables/table-batch.ts';
import { addressBytes } from '../../net/address-bytes.ts';
import type { IPFamily } from '../../net/ip.ts';
import {
  CMP,
  CT_STATE,
  DYNSET,
  type Expression,
  LOOKUP_INVERTED,
  META,
  NAT,
  REJECT,
  TCP_FLAGS,
  verdict,
} from '../../netfilter/expressions.ts';
import { type BaseChain, type Field, SET, TABLE_FLAGS, TYPE } from '../../netfilter/messages.ts';
import {
  answer,
  equals,
  hasExactSocket,
  hasFlags,
  isProtocol,
  lookup,
  portBytes,
  question,
  remember,
  sourcePort,
  TCP,
  tuple,
  UDP,
  untracked,
} from './match.ts';
import { CHAINS, GUARD_TABLE, SETS, serverTable } from './names.ts';

/** A table with everything in it, of one address family. */
export interface TableSpec extends AnyTable {
  readonly family: IPFamily;
}

/** Where the server answers, over UDP and TCP. */
export interface ServedAddress {
  /** Canonical. */
  readonly ip: string;
  readonly port: number;
}

/** A served address, and the port at it that only the server's process has: from there it sends its signs of life. */
export interface WatchedAddress extends ServedAddress {
  readonly beatPort: number;
}

/** So long the server counts as healthy after a sign of life. */
export const SERVING_MS = 1000n;
/** A connection is kept in mind so long after it began or ended, or its client sent data. A server's own limit has to be less than the latter. */
const BRIEF_MS = 30_000n;
const BUSY_MS = 120_000n;
/** More connections than that go to the Service's other endpoints. */
const CONNECTIONS = 65_536;
/** Of the set of healthy addresses. */
const SERVING_SIZE = 256;

/** NF_IP_PRI_RAW: before conntrack. */
const RAW = -300;
const IFNAMSIZ = 16;
const PROTOCOL: Field = { type: TYPE.protocol, bytes: 1 };
const PORT: Field = { type: TYPE.port, bytes: 2 };
/** ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH */
const UNREACHABLE = { IPv4: 3, IPv6: 4 } as const;

/**
 * What the addresses need for as long as they are on `lo`. Without it, whoever listens at all addresses of this node would be reached at them too, and the
 * node's own clients, whose source such an address is, would get no answer from elsewhere.
 */
export function guardTable(family: IPFamily, addresses: readonly string[]): TableSpec {
  const layout = layoutOf(family);
  const leaves: Expression[] = [
    { name: 'meta', dreg: 0, key: META.oifname },
    { name: 'cmp', sreg: 0, op: CMP.neq, data: Buffer.concat([Buffer.from('lo')], IFNAMSIZ) },
  ];
  const unreachable: Expression = { name: 'reject', type: REJECT.icmp, code: UNREACHABLE[family] };
  return {
    name: GUARD_TABLE,
    family,
    comment: "addresses of the DNS Service that are this node's",
    flags: 0,
    sets: [{ ...set(SETS.addresses, [layout.address]), keys: addresses.map(addressBytes) }],
    chains: [
      chain(CHAINS.otherPorts, filterAt(HOOK.input), [
        rule([destination(layout, 0), lookup(SETS.addresses, LOOKUP_INVERTED), verdict('accept')], 'no such address'),
        rule([...hasBits(FLOW_STATE, CT_STATE.new, false), verdict('accept')], 'not the first of its flow'),
        rule([...hasExactSocket(), verdict('accept')], 'a program is bound to this very address'),
        rule([...isProtocol(TCP), { name: 'reject', type: REJECT.tcpReset }], 'as for any port that a Service lacks'),
        rule([...isProtocol(UDP), unreachable], 'as for any port that a Service lacks'),
      ]),
      chain(CHAINS.sources, { type: 'nat', hook: HOOK.postrouting, priority: PRIORITY.sourceNat }, [
        rule(
          [source(layout, 0), lookup(SETS.addresses), ...leaves, { name: 'masq', flags: NAT.fullyRandom }],
          "of this node's own clients, on their way to another endpoint",
        ),
      ]),
    ],
  };
}

/**
 * What a server's process adds while it lives. A question is delivered here without conntrack, which is where NAT is done, if the process gave a sign of life
 * lately; else it goes the way that the proxy has for it. Of TCP that is decided by a connection's first packet.
 */
export function serverTableSpec(
  family: IPFamily,
  { id, pid, addresses }: { readonly id: string; readonly pid: number; readonly addresses: readonly WatchedAddress[] },
): TableSpec {
  const layout = layoutOf(family);
  const key = [layout.address, PROTOCOL, PORT];
  const dynamic = SET.timeout | SET.dynamic;
  return {
    name: serverTable(id),
    family,
    comment: `DNS served by process ${pid}; the kernel deletes this with it`,
    flags: TABLE_FLAGS.owner,
    sets: [
      { ...set(SETS.ports, key), keys: addresses.flatMap(address => portKeys(address, family)) },
      set(SETS.serving, key, { flags: dynamic, size: SERVING_SIZE }),
      set(SETS.connections, [layout.address, PORT, layout.address, PORT], { flags: dynamic, size: CONNECTIONS }),
    ],
    chains: [
      chain(CHAINS.connections, undefined, connectionRules(layout)),
      chain(CHAINS.arriving, filterAt(HOOK.prerouting, RAW), arrivingRules(layout)),
      chain(CHAINS.sent, filterAt(HOOK.output, RAW), sentRules(layout, addresses)),
    ],
  };
}

/** From pods and from elsewhere. A server that is gone is noticed at once: its socket is. */
function arrivingRules(layout: FamilyLayout): PlannedRule[] {
  return [
    rule([...question(layout), lookup(SETS.ports, LOOKUP_INVERTED), verdict('accept')], 'not to the server'),
    rule([verdict('jump', CHAINS.connections)]),
    rule(
      [...question(layout), lookup(SETS.serving), ...isProtocol(UDP), ...hasExactSocket(), ...untracked()],
      'a question, while the server answers',
    ),
    rule(
      [...question(layout), lookup(SETS.serving), ...hasExactSocket(), ...opens(layout)],
      'a new connection, while the server answers',
    ),
  ];
}

/** By this node itself. There is no asking for the server's socket here: a packet has its sender's. */
function sentRules(layout: FamilyLayout, addresses: readonly WatchedAddress[]): PlannedRule[] {
  return [
    rule([...answer(layout), lookup(SETS.ports), ...untracked()], 'an answer of the server'),
    ...addresses.map(address => rule(signOfLife(layout, address), 'a sign of life of the server')),
    rule([...question(layout), lookup(SETS.ports, LOOKUP_INVERTED), verdict('accept')], 'not to the server'),
    rule([verdict('jump', CHAINS.connections)]),
    rule([...question(layout), lookup(SETS.serving), ...isProtocol(UDP), ...untracked()], 'a question of this node'),
    rule([...question(layout), lookup(SETS.serving), ...opens(layout)], 'a new one of this node'),
  ];
}

/** A connection stays where its first packet went, whatever becomes of the server. */
function connectionRules(layout: FamilyLayout): PlannedRule[] {
  const known = [...tuple(layout), lookup(SETS.connections)];
  const refreshed = (timeout: bigint) => [...known, remember(timeout), ...untracked()];
  const { fin, rst, psh, syn } = TCP_FLAGS;
  return [
    rule([...hasFlags(fin | rst), ...refreshed(BRIEF_MS)], 'ends'),
    rule([...hasFlags(psh), ...refreshed(BUSY_MS)], 'data'),
    rule([...hasFlags(syn, false), ...known, ...untracked()]),
    rule([...hasFlags(syn), ...question(layout), lookup(SETS.serving), ...known, ...untracked()], 'a SYN sent again'),
  ];
}

/** Only the first packet; what can't be remembered isn't delivered here. */
function opens(layout: FamilyLayout): Expression[] {
  return [...hasFlags(TCP_FLAGS.syn), ...tuple(layout), remember(BRIEF_MS), ...untracked()];
}

/** What the process sends to itself: refreshes both protocols of an address. */
function signOfLife(layout: FamilyLayout, { ip, port, beatPort }: WatchedAddress): Expression[] {
  const { words } = layout;
  const [address, from] = [addressBytes(ip), portBytes(beatPort)];
  const refresh = (protocol: number): Expression[] => [
    destination(layout, 0),
    { name: 'immediate', dreg: words, data: Buffer.of(protocol) },
    { name: 'immediate', dreg: words + 1, data: portBytes(port) },
    { name: 'dynset', set: SETS.serving, op: DYNSET.update, sregKey: 0, timeout: SERVING_MS },
  ];
  return [
    ...isProtocol(UDP),
    ...equals(source(layout, 0), address),
    ...equals(destination(layout, 0), address),
    ...equals(sourcePort(0), from),
    ...equals(destinationPort(0), from),
    ...refresh(UDP),
    ...refresh(TCP),
    { name: 'notrack' },
  ];
}

function portKeys({ ip, port }: ServedAddress, family: IPFamily): Buffer[] {
  return ['UDP', 'TCP'].map(protocol => frontendBytes({ ip, port, protocol }, family));
}

function set(
  name: string,
  key: readonly Field[],
  { flags = 0, size }: { flags?: number; size?: number } = {},
): FilledSet {
  return { kind: 'set', spec: { name, flags, key, ...(size === undefined ? {} : { size }) } };
}

function chain(name: string, base: BaseChain | undefined, rules: readonly PlannedRule[]): ChainObject {
  return { kind: 'chain', name, rules, ...(base === undefined ? {} : { base }) };
}

function rule(expressions: readonly Expression[], comment?: string): PlannedRule {
  return comment === undefined ? { expressions } : { expressions, comment };
}
