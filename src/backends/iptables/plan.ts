import { reachableEndpoints } from '../../endpoints/categorize.ts';
import type { ServiceRoute } from '../../endpoints/types.ts';
import { planEntries, planHealthCheck, planRefusals } from './entries.ts';
import { planFirewall } from './firewall.ts';
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
    ...planFirewall(route, subject, options),
    ...planEntries(route, subject),
    ...planRefusals(route, subject, options),
    ...planHealthCheck(subject),
  ]);
}
