import { reachableEndpoints } from '../../endpoints/categorize.ts';
import type { ServicePort, ServiceRoute } from '../../endpoints/types.ts';
import { filtersLoadBalancer, filtersNodePort } from './firewall.ts';
import {
  CHAIN,
  clusterPolicyChain,
  externalChain,
  firewallChain,
  localPolicyChain,
  nodePortFirewallChain,
} from './names.ts';
import { entry, type IptablesObject } from './objects.ts';
import { destinationPort, host, type IptablesOptions, refuse, rule, TO_NODE } from './rules.ts';
import type { Subject } from './subject.ts';

/** The addresses of a ServicePort and the word that names each kind in comments. */
function* addresses(port: ServicePort): Iterable<{ ip: string; kind: string; isExternal: boolean }> {
  if (port.clusterIP !== '') yield { ip: port.clusterIP, kind: 'cluster IP', isExternal: false };
  const seen = new Set([port.clusterIP]);
  for (const ip of port.externalIPs)
    if (!seen.has(ip)) yield { ip: add(seen, ip), kind: 'external IP', isExternal: true };
  for (const ip of port.loadBalancerVIPs)
    if (!seen.has(ip)) yield { ip: add(seen, ip), kind: 'loadbalancer IP', isExternal: true };
}

function add(set: Set<string>, value: string): string {
  set.add(value);
  return value;
}

/** Entries of the dispatch chains in nat: destination address and port → chain. */
export function planEntries(route: ServiceRoute, { port, text, protocol }: Subject): IptablesObject[] {
  const entries: IptablesObject[] = [];
  const policy = port.isInternalLocal ? localPolicyChain : clusterPolicyChain;
  const hasInternal = (port.isInternalLocal ? route.localEndpoints : route.clusterEndpoints).length > 0;
  const hasExternal = reachableEndpoints(route).length > 0;
  for (const { ip, kind, isExternal } of addresses(port)) {
    if (!(isExternal ? hasExternal : hasInternal)) continue;
    entries.push(
      entry(
        'nat',
        CHAIN.services,
        rule({
          destination: host(ip),
          protocol,
          comment: `${text} ${kind}`,
          matches: [destinationPort(protocol, port.port)],
          jump: (isExternal ? externalEntry(kind, port) : policy)(text, protocol),
        }),
      ),
    );
  }
  if (port.nodePort !== 0 && hasExternal) {
    const matches = [destinationPort(protocol, port.nodePort)];
    const chainOf = filtersNodePort(port) ? nodePortFirewallChain : externalChain;
    const parts = { protocol, comment: text, matches, jump: chainOf(text, protocol) };
    entries.push(entry('nat', CHAIN.nodePorts, rule(parts)));
  }
  return entries;
}

/** Source ranges are for load balancer addresses: an external IP has none. */
function externalEntry(kind: string, port: ServicePort): typeof externalChain {
  return kind === 'loadbalancer IP' && filtersLoadBalancer(port) ? firewallChain : externalChain;
}

/** Lets load balancers ask for the health of a Service with external policy Local, whatever else INPUT refuses. */
export function planHealthCheck({ port, text }: Subject): IptablesObject[] {
  if (port.healthCheckNodePort === 0) return [];
  const matches = [destinationPort('tcp', port.healthCheckNodePort)];
  const parts = { protocol: 'tcp', comment: `${text} health check node port`, matches, jump: 'ACCEPT' };
  return [entry('filter', CHAIN.nodePorts, rule(parts))];
}

/** Refuses at once what has no endpoint anywhere; drops what policy Local keeps from the endpoints on other nodes. */
export function planRefusals(
  route: ServiceRoute,
  { port, text, protocol }: Subject,
  { family }: IptablesOptions,
): IptablesObject[] {
  const verdict = (isLocalOnly: boolean) => {
    if (!route.hasAnyEndpoints) return { why: 'has no endpoints', jump: refuse(family, protocol) };
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
    refusals.push(entry('filter', isExternal ? CHAIN.externalServices : CHAIN.services, rule(parts)));
  }
  if (port.nodePort !== 0 && external !== undefined) {
    const matches = [TO_NODE, destinationPort(protocol, port.nodePort)];
    const parts = { protocol, comment: `${text} ${external.why}`, matches, jump: external.jump };
    refusals.push(entry('filter', CHAIN.externalServices, rule(parts)));
  }
  return refusals;
}
