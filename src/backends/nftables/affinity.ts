/**
 * Session affinity of one ServicePort: a map of its clients, a set of its endpoints, and the chain that writes the map behind the DNAT.
 * Pure. The kernel adds and expires the map's elements by itself.
 */
import { reachableEndpoints } from '../../endpoints/categorize.ts';
import { endpointText, type ServiceRoute, servicePortText } from '../../endpoints/types.ts';
import { DYNSET, type Expression } from '../../netfilter/expressions.ts';
import { cutComment } from '../../netfilter/messages.ts';
import { affinityMap, learnChain, membersSet } from './names.ts';
import type { NftObject, PlannedRule } from './objects.ts';
import type { NftablesOptions } from './options.ts';
import { destination, destinationPort, type FamilyLayout, layoutOf, source } from './packet.ts';
import { affinitySet, memberSet } from './sets.ts';

export function planAffinity({ servicePort, ...sets }: ServiceRoute, options: NftablesOptions): NftObject[] {
  const layout = layoutOf(options.family);
  const { name, affinityTimeoutSeconds: seconds } = servicePort;
  const [map, members] = [affinityMap(name), membersSet(name)];
  const service = cutComment(servicePortText(name));
  const endpoints = reachableEndpoints({ ...sets })
    .map(endpointText)
    .toSorted();
  return [
    affinitySet(map, service, layout),
    memberSet(members, service, layout),
    { kind: 'members', set: members, map, endpoints },
    { kind: 'chain', name: learnChain(name), rules: learnRules({ map, members, seconds }, layout) },
  ];
}

/** Of an endpoint that has gone meanwhile, and of other Services with this port number, nothing is learnt. */
export function learnRules(
  { map, members, seconds }: { readonly map: string; readonly members: string; readonly seconds: number },
  layout: FamilyLayout,
): PlannedRule[] {
  const { words } = layout;
  const client = words + 1;
  const timeout = BigInt(seconds) * 1000n;
  const expressions: Expression[] = [
    destination(layout, 0),
    destinationPort(words),
    { name: 'lookup', set: members, sreg: 0 },
    source(layout, client),
    { name: 'dynset', set: map, op: DYNSET.update, sregKey: client, sregData: 0, timeout },
  ];
  return [{ expressions }];
}
