import { reachableEndpoints } from '../../endpoints/categorize.ts';
import { isExternallyAccessible } from '../../endpoints/service-ports.ts';
import {
  type Endpoint,
  endpointText,
  type ServicePort,
  type ServiceRoute,
  servicePortText,
} from '../../endpoints/types.ts';
import { CHAIN, clusterPolicyChain, endpointChain, externalChain, localPolicyChain } from './names.ts';
import { byKey, type IptablesObject, type Table } from './objects.ts';
import {
  destinationPort,
  dispatchChains,
  FROM_NODE,
  host,
  ifLocal,
  ifNotLocal,
  jumpRules,
  type LocalDetector,
  probability,
  REFUSE,
  type RuleParts,
  rule,
  TO_NODE,
} from './rules.ts';

/** What the rules of every Service depend on. */
export interface IptablesOptions {
  /** Bit of the packet mark that asks for masquerading, 0 to 31. */
  readonly masqueradeBit: number;
  readonly masqueradeAll: boolean;
  readonly localDetector: LocalDetector;
  /** Destinations that accept NodePorts, canonical CIDRs or addresses; empty = every local address except loopback. */
  readonly nodePortAddresses: readonly string[];
}

/** The names and words that all rules of one ServicePort share. */
interface Subject {
  readonly port: ServicePort;
  readonly text: string;
  /** Lower case, as iptables writes it. */
  readonly protocol: string;
  /** The name of an endpoint's chain. */
  readonly chainOf: (endpoint: Endpoint) => string;
}

/** Every chain and rule of one route. Source of the layout: kube-proxy's iptables mode, which operators know. */
export function planRoute(route: ServiceRoute, options: IptablesOptions): ReadonlyMap<string, IptablesObject> {
  const { name } = route.servicePort;
  const text = servicePortText(name);
  const protocol = name.protocol.toLowerCase();
  const reachable = reachableEndpoints(route);
  const subject = { port: route.servicePort, text, protocol, chainOf: namer(text, protocol) };
  return byKey([
    ...reachable.map(endpoint => planEndpoint(endpoint, subject)),
    ...planPolicies(route, subject, options),
    ...planEntries(route, subject),
    ...planRefusals(route, subject),
  ]);
}

/** Hashes each endpoint once: that is what planning spends most on. */
function namer(text: string, protocol: string): Subject['chainOf'] {
  const names = new Map<Endpoint, string>();
  return endpoint => {
    const known = names.get(endpoint);
    if (known !== undefined) return known;
    const name = endpointChain(text, protocol, endpointText(endpoint));
    names.set(endpoint, name);
    return name;
  };
}

function chain(table: Table, name: string, rules: readonly string[]): IptablesObject {
  return { kind: 'chain', table, name, rules: rules.join('\n') };
}

function entry(table: Table, chainName: string, parts: RuleParts): IptablesObject {
  return { kind: 'rule', table, chain: chainName, rule: rule(parts) };
}

function planEndpoint(endpoint: Endpoint, { text, protocol, chainOf }: Subject): IptablesObject {
  const target = endpointText(endpoint);
  return chain('nat', chainOf(endpoint), [
    // Hairpin: a pod that reaches itself must see another source, or its answer would not pass the NAT again.
    rule({ source: host(endpoint.ip), comment: text, jump: CHAIN.markMasq }),
    rule({ protocol, comment: text, matches: [`-m ${protocol}`], jump: `DNAT --to-destination ${target}` }),
  ]);
}

/** The chains that choose among endpoints, one per policy in use, and the one that outside traffic enters by. */
function planPolicies(route: ServiceRoute, subject: Subject, options: IptablesOptions): IptablesObject[] {
  const { port, text, protocol } = subject;
  const chains: IptablesObject[] = [];
  const masquerade = port.clusterIP === '' ? [] : clusterIPMasquerade(subject, options);
  const cluster = route.clusterEndpoints.map(endpoint => endpointRule(endpoint, subject));
  const local = route.localEndpoints.map(endpoint => endpointRule(endpoint, subject));
  if (cluster.length > 0) {
    const first = port.isInternalLocal ? [] : masquerade;
    chains.push(chain('nat', clusterPolicyChain(text, protocol), [...first, ...spread(cluster)]));
  }
  if (local.length > 0) {
    const first = port.isInternalLocal ? masquerade : [];
    chains.push(chain('nat', localPolicyChain(text, protocol), [...first, ...spread(local)]));
  }
  if (isExternallyAccessible(port) && reachableEndpoints(route).length > 0) {
    chains.push(chain('nat', externalChain(text, protocol), externalRules(route, subject, options)));
  }
  return chains;
}

/** Clients that aren't pods of this cluster get their source rewritten, or the endpoint would answer past this node. */
function clusterIPMasquerade({ port, text, protocol }: Subject, options: IptablesOptions): string[] {
  const { masqueradeAll, localDetector } = options;
  if (!masqueradeAll && localDetector.kind === 'none') return [];
  return [
    rule({
      ...(masqueradeAll ? {} : ifNotLocal(localDetector)),
      destination: host(port.clusterIP),
      protocol,
      comment: `${text} cluster IP`,
      matches: [destinationPort(protocol, port.port)],
      jump: CHAIN.markMasq,
    }),
  ];
}

function endpointRule(endpoint: Endpoint, { text, chainOf }: Subject): RuleParts {
  return { comment: `${text} -> ${endpointText(endpoint)}`, jump: chainOf(endpoint) };
}

/** Each of n rules is reached with equal probability: 1/n, then 1/(n-1) of the rest, and so on; the last takes what is left. */
function spread(rules: readonly RuleParts[]): string[] {
  return rules.map((parts, i) => {
    const left = rules.length - i;
    return left === 1 ? rule(parts) : rule({ ...parts, matches: [probability(1 / left)] });
  });
}

function externalRules(route: ServiceRoute, { port, text, protocol }: Subject, options: IptablesOptions): string[] {
  const cluster = clusterPolicyChain(text, protocol);
  if (!port.isExternalLocal) {
    const comment = `masquerade traffic for ${text} external destinations`;
    return [
      rule({ comment, jump: CHAIN.markMasq }),
      ...(route.clusterEndpoints.length > 0 ? [rule({ jump: cluster })] : []),
    ];
  }
  const rules: string[] = [];
  if (route.clusterEndpoints.length > 0) {
    // Pods and the node itself may use every endpoint: policy Local is for clients whose address it keeps.
    if (options.localDetector.kind !== 'none') {
      rules.push(
        rule({
          ...ifLocal(options.localDetector),
          comment: `pod traffic for ${text} external destinations`,
          jump: cluster,
        }),
      );
    }
    const matches = [FROM_NODE];
    rules.push(
      rule({ comment: `masquerade LOCAL traffic for ${text} external destinations`, matches, jump: CHAIN.markMasq }),
    );
    rules.push(rule({ comment: `route LOCAL traffic for ${text} external destinations`, matches, jump: cluster }));
  }
  if (route.localEndpoints.length > 0) rules.push(rule({ jump: localPolicyChain(text, protocol) }));
  return rules;
}

/** The addresses of a ServicePort and the word that names each kind in comments. */
function* addresses(port: ServicePort): Iterable<{ ip: string; kind: string; isExternal: boolean }> {
  if (port.clusterIP !== '') yield { ip: port.clusterIP, kind: 'cluster IP', isExternal: false };
  const seen = new Set([port.clusterIP]);
  for (const ip of port.externalIPs)
    if (!seen.has(ip)) yield { ip: add(seen, ip), kind: 'external IP', isExternal: true };
  // Without the filter that the ranges ask for, the address would be open to everybody: see unservedFeatures.
  if (port.loadBalancerSourceRanges.length > 0) return;
  for (const ip of port.loadBalancerVIPs)
    if (!seen.has(ip)) yield { ip: add(seen, ip), kind: 'loadbalancer IP', isExternal: true };
}

function add(set: Set<string>, value: string): string {
  set.add(value);
  return value;
}

/** Entries of the dispatch chains in nat: destination address and port → chain. */
function planEntries(route: ServiceRoute, { port, text, protocol }: Subject): IptablesObject[] {
  const entries: IptablesObject[] = [];
  const policy = port.isInternalLocal ? localPolicyChain : clusterPolicyChain;
  const hasInternal = (port.isInternalLocal ? route.localEndpoints : route.clusterEndpoints).length > 0;
  const hasExternal = reachableEndpoints(route).length > 0;
  for (const { ip, kind, isExternal } of addresses(port)) {
    if (!(isExternal ? hasExternal : hasInternal)) continue;
    entries.push(
      entry('nat', CHAIN.services, {
        destination: host(ip),
        protocol,
        comment: `${text} ${kind}`,
        matches: [destinationPort(protocol, port.port)],
        jump: isExternal ? externalChain(text, protocol) : policy(text, protocol),
      }),
    );
  }
  if (port.nodePort !== 0 && hasExternal) {
    const matches = [destinationPort(protocol, port.nodePort)];
    entries.push(
      entry('nat', CHAIN.nodePorts, { protocol, comment: text, matches, jump: externalChain(text, protocol) }),
    );
  }
  return entries;
}

/** Refuses at once what has no endpoint anywhere; drops what policy Local keeps from the endpoints on other nodes. */
function planRefusals(route: ServiceRoute, { port, text, protocol }: Subject): IptablesObject[] {
  const verdict = (isLocalOnly: boolean) => {
    if (!route.hasAnyEndpoints) return { why: 'has no endpoints', jump: REFUSE };
    return isLocalOnly && route.localEndpoints.length === 0
      ? { why: 'has no local endpoints', jump: 'DROP' }
      : undefined;
  };
  const refusals: IptablesObject[] = [];
  const internal = verdict(port.isInternalLocal);
  const external = verdict(port.isExternalLocal);
  for (const { ip, isExternal } of addresses(port)) {
    const found = isExternal ? external : internal;
    if (found === undefined) continue;
    const matches = [destinationPort(protocol, port.port)];
    const parts = { destination: host(ip), protocol, comment: `${text} ${found.why}`, matches, jump: found.jump };
    refusals.push(entry('filter', isExternal ? CHAIN.externalServices : CHAIN.services, parts));
  }
  if (port.nodePort !== 0 && external !== undefined) {
    const matches = [TO_NODE, destinationPort(protocol, port.nodePort)];
    const parts = { protocol, comment: `${text} ${external.why}`, matches, jump: external.jump };
    refusals.push(entry('filter', CHAIN.externalServices, parts));
  }
  return refusals;
}

/** What a ServicePort asks for and this backend doesn't do, a line for each, with the field and what happens instead. */
export function unservedFeatures(port: ServicePort): readonly string[] {
  const lines: string[] = [];
  if (port.loadBalancerSourceRanges.length > 0 && port.loadBalancerVIPs.length > 0) {
    lines.push(
      'spec.loadBalancerSourceRanges: not supported by this version, so the load balancer addresses are left out',
    );
  }
  if (port.affinityTimeoutSeconds > 0) {
    lines.push('spec.sessionAffinity: not supported by this version, so each connection chooses its endpoint anew');
  }
  return lines;
}

/** What exists however many Services there are. */
export function planShared(options: IptablesOptions): ReadonlyMap<string, IptablesObject> {
  const bit = `0x${(2 ** options.masqueradeBit).toString(16)}`;
  const marked = `-m mark --mark ${bit}/${bit}`;
  return byKey([
    ...dispatchChains(),
    ...jumpRules(),
    ...nodePortJumps(options.nodePortAddresses),
    chain('nat', CHAIN.markMasq, [rule({ jump: `MARK --set-xmark ${bit}/${bit}` })]),
    chain('nat', CHAIN.postrouting, [
      rule({ matches: [`-m mark ! --mark ${bit}/${bit}`], jump: 'RETURN' }),
      // The mark goes, so that a packet that comes back through the stack (a tunnel, say) isn't masqueraded again.
      rule({ jump: `MARK --set-xmark ${bit}/0x0` }),
      rule({ comment: 'kubernetes service traffic requiring SNAT', jump: 'MASQUERADE --random-fully' }),
    ]),
    chain('filter', CHAIN.forward, [
      // A packet that conntrack cannot place would pass without NAT, and its answer reset the connection (kubernetes#74839).
      rule({ matches: ['-m conntrack --ctstate INVALID'], jump: 'DROP' }),
      rule({ comment: 'kubernetes forwarding rules', matches: [marked], jump: 'ACCEPT' }),
      rule({
        comment: 'kubernetes forwarding conntrack rule',
        matches: ['-m conntrack --ctstate RELATED,ESTABLISHED'],
        jump: 'ACCEPT',
      }),
    ]),
  ]);
}

/** The last rules of KUBE-SERVICES: whatever is addressed to this node and isn't a Service's address may be a NodePort. */
function nodePortJumps(nodePortAddresses: readonly string[]): IptablesObject[] {
  const comment = 'kubernetes service nodeports; NOTE: this must be the last rule in this chain';
  const jump = CHAIN.nodePorts;
  // 127.0.0.0/8 stays out: with such a source, a packet is refused as martian once it leaves by another interface.
  const everywhere = [{ destination: '! 127.0.0.0/8', comment, matches: [TO_NODE], jump }];
  const listed = nodePortAddresses.map(destination => ({ destination, comment, matches: [TO_NODE], jump }));
  return (listed.length === 0 ? everywhere : listed).map(parts => entry('nat', CHAIN.services, parts));
}
