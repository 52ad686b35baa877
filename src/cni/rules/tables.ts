/**
 * The tables of pod networking without their elements: as many chains and rules however many pods there are. Pure. Packets of a connection that the Service proxy's chains
 * have decided never come here: the kernel asks NAT chains one after the other until one decides (nf_nat_inet_fn of net/netfilter/nf_nat_core.c).
 */
import { createHash } from 'node:crypto';
import { filterAt, HOOK, PRIORITY } from '../../backends/nftables/hooks.ts';
import type { ChainObject, PlannedRule, SetObject } from '../../backends/nftables/objects.ts';
import {
  destination,
  type FamilyLayout,
  FLOW_STATE,
  FLOW_STATUS,
  hasBits,
  layoutOf,
  type NftFamily,
  source,
} from '../../backends/nftables/packet.ts';
import type { TableSpec } from '../../backends/nftables/table-batch.ts';
import type { IPFamily } from '../../net/ip.ts';
import { CT_STATE, CT_STATUS_DNAT, type Expression, META, NAT, verdict } from '../../netfilter/expressions.ts';
import { type BaseChain, type Field, SET, TYPE } from '../../netfilter/messages.ts';
import { bridgeTable } from './bridge-table.ts';
import {
  cameToHostPort,
  isFromLoopback,
  isIn,
  isNotIn,
  isNotInterface,
  isNotMulticast,
  isToNode,
  isWithin,
  toHostPort,
} from './match.ts';
import { CHAINS, SETS, TABLE } from './names.ts';

const PROTOCOL: Field = { type: TYPE.protocol, bytes: 1 };
const PORT: Field = { type: TYPE.port, bytes: 2 };
/** Behind the Service proxy's chains (and those of iptables): of a NodePort and a hostPort that are the same, the Service's rule wins. */
const BEHIND_SERVICES = { destinationNat: PRIORITY.destinationNat + 10, sourceNat: PRIORITY.sourceNat + 1 };
const LOOPBACK: Readonly<Record<IPFamily, { address: string; length: number }>> = {
  IPv4: { address: '127.0.0.0', length: 8 },
  IPv6: { address: '::1', length: 128 },
};

/** The comment ends with a digest of the structure: a table of another release is told by it. */
export function tableSpec(family: NftFamily): TableSpec {
  const structure = family === 'bridge' ? bridgeTable() : addressTable(family);
  const digest = createHash('sha256').update(JSON.stringify(structure)).digest('hex').slice(0, 12);
  return { name: TABLE, family, flags: 0, comment: `pod networking, rules ${digest}`, ...structure };
}

function addressTable(family: IPFamily): Pick<TableSpec, 'sets' | 'chains'> {
  const layout = layoutOf(family);
  const { address } = layout;
  return {
    sets: [
      set(SETS.masqueraded, [address]),
      set(SETS.unmasqueraded, [address], { flags: SET.interval }),
      set(SETS.ownNetworks, [address, address], { flags: SET.interval | SET.concatenation }),
      set(SETS.hostPorts, [address, PROTOCOL, PORT], { value: [address, PORT] }),
    ],
    chains: [
      chain(CHAINS.hostPorts, undefined, hostPortRules(layout)),
      chain(CHAINS.prerouting, natAt(HOOK.prerouting, BEHIND_SERVICES.destinationNat), [toHostPorts()]),
      chain(CHAINS.output, natAt(HOOK.output, BEHIND_SERVICES.destinationNat), [toHostPorts()]),
      chain(CHAINS.postrouting, natAt(HOOK.postrouting, BEHIND_SERVICES.sourceNat), sourceRules(layout)),
      ...(family === 'IPv4' ? [chain(CHAINS.input, filterAt(HOOK.input), localnetRules(layout))] : []),
    ],
  };
}

function toHostPorts(): PlannedRule {
  return rule([verdict('jump', CHAINS.hostPorts)]);
}

/** Only addresses of this node count: a hostIP that is another's takes nothing from it. */
function hostPortRules(layout: FamilyLayout): PlannedRule[] {
  const isLoopback = isWithin(destination, layout, LOOPBACK.IPv6);
  // No packet from ::1 leaves the node, whatever its source is rewritten to.
  const never = layout.family === 'IPv4' ? [] : [rule([...isLoopback, verdict('return')], '::1 never leaves the node')];
  return [
    rule([...isToNode(false), verdict('return')], 'not to this node'),
    ...never,
    rule(toHostPort(layout, false), 'hostPorts of one address'),
    rule(toHostPort(layout, true), 'hostPorts of all addresses'),
  ];
}

function sourceRules(layout: FamilyLayout): PlannedRule[] {
  const wasSent = hasBits(FLOW_STATUS, CT_STATUS_DNAT);
  const masquerade: Expression = { name: 'masq', flags: NAT.fullyRandom };
  const { words } = layout;
  const fromBeside = [destination(layout, 0), source(layout, words), isIn(SETS.ownNetworks)];
  const toBeside = [source(layout, 0), destination(layout, words), isNotIn(SETS.ownNetworks)];
  const toItself = (isAnyAddress: boolean) =>
    rule(
      [...wasSent, ...fromBeside, ...cameToHostPort(layout, isAnyAddress), masquerade],
      "from a pod's own network to its hostPort: the answer has to come by",
    );
  const toLocalnet = [...wasSent, ...isFromLoopback(layout), ...isNotInterface(META.oifname, 'lo'), masquerade];
  return [
    toItself(false),
    toItself(true),
    ...(layout.family === 'IPv4' ? [rule(toLocalnet, 'from 127.0.0.1 to a hostPort')] : []),
    rule(
      [
        source(layout, 0),
        isIn(SETS.masqueraded),
        destination(layout, 0),
        isNotIn(SETS.unmasqueraded),
        ...isNotMulticast(layout),
        ...toBeside,
        masquerade,
      ],
      'pods to the outside',
    ),
  ];
}

/**
 * With route_localnet on a bridge, the network behind it could reach what listens on 127.0.0.0/8 (CVE-2020-8558), or pretend to come from there. The interface can't be forged.
 */
function localnetRules(layout: FamilyLayout): PlannedRule[] {
  const guard = (load: typeof source): PlannedRule =>
    rule(
      [
        ...isWithin(load, layout, LOOPBACK.IPv4),
        ...isNotInterface(META.iifname, 'lo'),
        ...hasBits(FLOW_STATE, CT_STATE.established | CT_STATE.related, false),
        ...hasBits(FLOW_STATUS, CT_STATUS_DNAT, false),
        verdict('drop'),
      ],
      'the network has no business here',
    );
  return [guard(destination), guard(source)];
}

function natAt(hook: number, priority: number): BaseChain {
  return { type: 'nat', hook, priority };
}

function set(
  name: string,
  key: readonly Field[],
  { flags = 0, value }: { flags?: number; value?: readonly Field[] } = {},
): SetObject {
  return { kind: 'set', spec: { name, flags, key, ...(value === undefined ? {} : { value }) } };
}

function chain(name: string, base: BaseChain | undefined, rules: readonly PlannedRule[]): ChainObject {
  return { kind: 'chain', name, rules, ...(base === undefined ? {} : { base }) };
}

function rule(expressions: readonly Expression[], comment?: string): PlannedRule {
  return comment === undefined ? { expressions } : { expressions, comment };
}
