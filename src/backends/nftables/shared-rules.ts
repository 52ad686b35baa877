/** The chains that exist however many Services there are. Pure. See README.md for the way of a packet. */
import {
  CMP,
  CT_STATE,
  CT_STATUS_DNAT,
  type Expression,
  META,
  NAT,
  REJECT,
  verdict,
} from '../../netfilter/expressions.ts';
import type { BaseChain } from '../../netfilter/messages.ts';
import { isAllowed } from './choices.ts';
import { filterAt, HOOK, PRIORITY } from './hooks.ts';
import { CHAINS, SETS } from './names.ts';
import { byKey, type ChainObject, type NftObject, type PlannedRule } from './objects.ts';
import type { NftablesOptions } from './options.ts';
import {
  destination,
  type FamilyLayout,
  FLOW_STATE,
  FLOW_STATUS,
  frontend,
  hasBits,
  layoutOf,
  originalDestination,
  source,
  toVerdict,
} from './packet.ts';
import { sharedSets } from './sets.ts';
import { cameToNodePorts, comesBy, fromNode, fromPods, toNodePorts, toRange } from './sources.ts';

const TCP = 6;
/** ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH */
const UNREACHABLE = { IPv4: 3, IPv6: 4 } as const;

export function planShared(options: NftablesOptions): ReadonlyMap<string, NftObject> {
  const layout = layoutOf(options.family);
  const chains = { ...natChains(options, layout), ...sourceChains(options, layout), ...filterChains(options, layout) };
  const named = Object.entries(chains).map(([name, chain]) => ({ ...chain, kind: 'chain', name }) as const);
  return byKey([{ kind: 'table', isDormant: false }, ...sharedSets(layout), ...named]);
}

type Unnamed = Omit<ChainObject, 'kind' | 'name'>;

function natChains(options: NftablesOptions, layout: FamilyLayout): Record<string, Unnamed> {
  const toDispatch = rules(rule([verdict('jump', CHAINS.services)]));
  const at = (hook: number): BaseChain => ({ type: 'nat', hook, priority: PRIORITY.destinationNat });
  const known = [...frontend(layout, 0), toVerdict(SETS.services)];
  const nodePorts = toNodePorts(options).map(to =>
    rule([...to, verdict('goto', CHAINS.nodePorts)], 'addresses for NodePorts'),
  );
  // A program on this node may have a cluster IP for an address of its own.
  const noNodePort = rule([...isClusterIP(layout), verdict('return')], 'no such port');
  return {
    [CHAINS.natPrerouting]: { ...toDispatch, base: at(HOOK.prerouting) },
    [CHAINS.natOutput]: { ...toDispatch, base: at(HOOK.output) },
    [CHAINS.services]: rules(
      rule(known, 'addresses of Services'),
      // Kernels before 6.17 may miss an element at the moment in which it is replaced.
      rule(known, 'again, while elements change'),
      ...(nodePorts.length === 0 ? [] : [noNodePort, ...nodePorts]),
    ),
    [CHAINS.nodePorts]: rules(
      rule([...frontend(layout, 0, { isNodePort: true }), toVerdict(SETS.services)]),
      rule([...frontend(layout, 0, { isNodePort: true }), toVerdict(SETS.services)], 'again, while elements change'),
    ),
  };
}

function sourceChains(options: NftablesOptions, layout: FamilyLayout): Record<string, Unnamed> {
  const base: BaseChain = { type: 'nat', hook: HOOK.postrouting, priority: PRIORITY.sourceNat };
  const toMasquerade = verdict('goto', CHAINS.masquerade);
  const others = options.masqueradeAll ? [[]] : fromPods(options, true);
  const wasClusterIP: Expression[] = [
    originalDestination(layout, 0),
    { name: 'lookup', set: SETS.clusterIPs, sreg: 0 },
  ];
  const itself = (isNodePort: boolean) => rule([...isItself(layout, isNodePort), toMasquerade], 'reaches itself');
  return {
    [CHAINS.natPostrouting]: {
      base,
      ...rules(
        rule([...hasBits(FLOW_STATUS, CT_STATUS_DNAT, false), verdict('return')], 'no Service'),
        itself(false),
        rule([...frontend(layout, 0, { view: 'original' }), toVerdict(SETS.external)]),
        rule([...wasClusterIP, verdict('goto', CHAINS.sourceOfClusterIP)]),
        ...cameToNodePorts(options).map(to => rule([...to, verdict('goto', CHAINS.sourceOfNodePort)])),
      ),
    },
    [CHAINS.sourceOfNodePort]: rules(
      itself(true),
      rule([...frontend(layout, 0, { view: 'original', isNodePort: true }), toVerdict(SETS.external)]),
    ),
    [CHAINS.sourceOfClusterIP]: rules(...others.map(from => rule([...from, toMasquerade], 'not from pods'))),
    [CHAINS.sourceOfPolicyLocal]: rules(rule([...fromNode(), toMasquerade])),
    [CHAINS.masquerade]: rules(rule([{ name: 'masq', flags: NAT.fullyRandom }])),
  };
}

function filterChains(options: NftablesOptions, layout: FamilyLayout): Record<string, Unnamed> {
  const { family, dropsInvalid, serviceCIDRs } = options;
  const isNew = hasBits(FLOW_STATE, CT_STATE.new);
  const checkRouted = rule([...isNew, verdict('jump', CHAINS.checkRouted)]);
  const invalid = rule([...hasBits(FLOW_STATE, CT_STATE.invalid), verdict('drop')], 'conntrack cannot place it');
  const checks = [
    rule([...hasBits(FLOW_STATUS, CT_STATUS_DNAT), verdict('return')], 'has its endpoint'),
    rule([...frontend(layout, 0), toVerdict(SETS.refused)]),
  ];
  const nodePorts = toNodePorts(options).map(to => rule([...to, verdict('goto', CHAINS.checkNodePorts)]));
  return {
    [CHAINS.filterInput]: {
      ...rules(...(family === 'IPv4' ? [localnetGuard(layout)] : []), rule([...isNew, verdict('jump', CHAINS.check)])),
      base: filterAt(HOOK.input),
    },
    [CHAINS.filterForward]: { ...rules(...(dropsInvalid ? [invalid] : []), checkRouted), base: filterAt(HOOK.forward) },
    [CHAINS.filterOutput]: { ...rules(checkRouted), base: filterAt(HOOK.output) },
    // A program on this node may have a cluster IP for an address of its own: other ports of it are its business.
    [CHAINS.check]: rules(
      ...checks,
      ...(nodePorts.length === 0 ? [] : [rule([...isClusterIP(layout), verdict('return')], 'no NodePort')]),
      ...nodePorts,
    ),
    [CHAINS.checkRouted]: rules(
      ...checks,
      rule([...isClusterIP(layout), verdict('goto', CHAINS.refuse)], 'no such port'),
      ...nodePorts,
      ...serviceCIDRs.map(cidr => rule([...toRange(layout, cidr), verdict('drop')], 'no such Service')),
    ),
    [CHAINS.checkNodePorts]: rules(rule([...frontend(layout, 0, { isNodePort: true }), toVerdict(SETS.refused)])),
    ...refusals(layout),
  };
}

function refusals(layout: FamilyLayout): Record<string, Unnamed> {
  const { family } = layout;
  const reset = rule([
    { name: 'meta', dreg: 0, key: META.l4proto },
    { name: 'cmp', sreg: 0, op: CMP.eq, data: Buffer.of(TCP) },
    { name: 'reject', type: REJECT.tcpReset },
  ]);
  const unreachable = rule([{ name: 'reject', type: REJECT.icmp, code: UNREACHABLE[family] }]);
  const ifAllowed = (then: Expression) =>
    [false, true].map(isNodePort => rule([...isAllowed(layout, isNodePort), then]));
  const [allowed, letIn] = [ifAllowed(verdict('goto', CHAINS.refuse)), ifAllowed(verdict('return'))];
  return {
    // The kernel drops an ICMPv6 error while connect() holds the socket, as between the ends of a veth: the client would wait for 1 s.
    [CHAINS.refuse]: rules(...(family === 'IPv6' ? [reset] : []), unreachable),
    [CHAINS.drop]: rules(rule([verdict('drop')])),
    [CHAINS.guardedRefusal]: rules(...allowed, rule([verdict('drop')])),
    // Who is let in may have come to an endpoint that is this address itself: conntrack calls that no DNAT.
    [CHAINS.guardedDrop]: rules(...letIn, rule([verdict('drop')])),
  };
}

/**
 * The network is kept from 127.0.0.0/8 (CVE-2020-8558): another mode, or another program, may have told the kernel to route there. The interface can't be forged.
 */
function localnetGuard(layout: FamilyLayout): PlannedRule {
  const isForeign = comesBy('lo', CMP.neq);
  const isOpening = hasBits(FLOW_STATE, CT_STATE.established | CT_STATE.related, false);
  const isSent = hasBits(FLOW_STATUS, CT_STATUS_DNAT, false);
  const expressions = [...toRange(layout, '127.0.0.0/8'), ...isForeign, ...isOpening, ...isSent, verdict('drop')];
  return rule(expressions, 'the network has no business here');
}

function isClusterIP(layout: FamilyLayout): Expression[] {
  return [destination(layout, 0), { name: 'lookup', set: SETS.clusterIPs, sreg: 0 }];
}

/** The client is the endpoint that it was sent to. */
function isItself(layout: FamilyLayout, isNodePort: boolean): Expression[] {
  const { words } = layout;
  return [
    source(layout, 0),
    destination(layout, words),
    ...frontend(layout, 2 * words, { view: 'original', isNodePort }),
    { name: 'lookup', set: SETS.hairpins, sreg: 0 },
  ];
}

function rules(...list: readonly PlannedRule[]): Unnamed {
  return { rules: list };
}

function rule(expressions: readonly Expression[], comment?: string): PlannedRule {
  return comment === undefined ? { expressions } : { expressions, comment };
}
