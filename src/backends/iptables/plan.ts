import { reachableEndpoints } from '../../endpoints/categorize.ts';
import type { ServicePort, ServiceRoute } from '../../endpoints/types.ts';
import { planEntries, planRefusals } from './entries.ts';
import { byKey, type IptablesObject } from './objects.ts';
import { planEndpoint, planPolicies } from './policy-chains.ts';
import type { IptablesOptions } from './rules.ts';
import { subjectOf } from './subject.ts';

/** Every chain and rule of one route. Source of the layout: kube-proxy's iptables mode, which operators know. */
export function planRoute(route: ServiceRoute, options: IptablesOptions): ReadonlyMap<string, IptablesObject> {
  const subject = subjectOf(route.servicePort);
  return byKey([
    ...reachableEndpoints(route).map(endpoint => planEndpoint(endpoint, subject, options)),
    ...planPolicies(route, subject, options),
    ...planEntries(route, subject),
    ...planRefusals(route, subject, options),
  ]);
}

/** What a ServicePort asks for and this backend doesn't do, a line for each, with the field and what happens instead. */
export function unserved(port: ServicePort): readonly string[] {
  if (port.loadBalancerSourceRanges.length === 0 || port.loadBalancerVIPs.length === 0) return [];
  return ['spec.loadBalancerSourceRanges: not supported by this version, so the load balancer addresses are left out'];
}
