/**
 * Session affinity of one ServicePort: a map of its clients, a set of its endpoints, and the chain that writes the map behind the DNAT.
 * Pure. The kernel adds and expires the map's elements by itself.
 */
import { reachableEndpoints } from '../../endpoints/categorize.ts';
import { endpointText, type ServiceRoute, servicePortText } from '../../endpoints/types.ts';
import { DYNSET } from '../../netfilter/expressions.ts';
import { cutComment } from '../../netfilter/messages.ts';
import { affinityMap, learnChain, membersSet } from './names.ts';
import { chainKey, membersKey, type NftObject, setKey } from './objects.ts';
import type { NftablesOptions } from './options.ts';
import { destination, destinationPort, layoutOf, source } from './packet.ts';
import { affinitySet, memberSet } from './sets.ts';

export function planAffinity({ servicePort, ...sets }: ServiceRoute, options: NftablesOptions): [string, NftObject][] {
  const layout = layoutOf(options.family);
  const { name, affinityTimeoutSeconds } = servicePort;
  const [map, members] = [affinityMap(name), membersSet(name)];
  const service = cutComment(servicePortText(name));
  const { words } = layout;
  const endpoint = [destination(layout, 0), destinationPort(words)];
  // Of an endpoint that has gone meanwhile, and of other Services with this port number, nothing is learnt.
  const learn = [
    ...endpoint,
    { name: 'lookup', set: members, sreg: 0 } as const,
    source(layout, words + 1),
    {
      name: 'dynset',
      set: map,
      op: DYNSET.update,
      sregKey: words + 1,
      sregData: 0,
      timeout: BigInt(affinityTimeoutSeconds) * 1000n,
    } as const,
  ];
  const endpoints = reachableEndpoints({ ...sets })
    .map(endpointText)
    .toSorted();
  return [
    [setKey(map), affinitySet(map, service, layout)],
    [setKey(members), memberSet(members, service, layout)],
    [membersKey(members), { kind: 'members', map, endpoints }],
    [chainKey(learnChain(name)), { kind: 'chain', rules: [{ expressions: learn }] }],
  ];
}
