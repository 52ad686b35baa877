/**
 * Session affinity of one ServicePort: a map of its clients, a set of its endpoints, and the chain that writes the map behind the DNAT.
 * Pure. The kernel adds and expires the map's elements by itself.
 */
import { type Endpoint, endpointText, type ServiceRoute, servicePortText } from '../../endpoints/types.ts';
import { weightsOf } from '../../endpoints/weights.ts';
import type { IPFamily } from '../../net/ip.ts';
import { CT_STATE, CT_STATUS_DNAT, DYNSET, type Expression, verdict } from '../../netfilter/expressions.ts';
import { cutComment } from '../../netfilter/messages.ts';
import { filterAt, HOOK, PRIORITY } from './hooks.ts';
import { affinityMap, CHAINS, learnChain, membersSet, SETS } from './names.ts';
import type { ChainObject, NftObject, PlannedRule } from './objects.ts';
import type { NftablesOptions } from './options.ts';
import {
  destination,
  destinationPort,
  type FamilyLayout,
  FLOW_STATE,
  FLOW_STATUS,
  frontend,
  hasBits,
  layoutOf,
  source,
  toVerdict,
} from './packet.ts';
import { affinitySet, memberSet } from './sets.ts';

export function planAffinity(route: ServiceRoute, options: NftablesOptions): NftObject[] {
  const layout = layoutOf(options.family);
  const { name, affinityTimeoutSeconds: seconds } = route.servicePort;
  const service = cutComment(servicePortText(name));
  const [cluster, local] = [membersOf(route, route.clusterEndpoints), membersOf(route, route.localEndpoints)];
  const kinds = [
    { isLocal: false, endpoints: cluster.length > 0 ? cluster : local },
    ...(hasOwnLocalMap(route) ? [{ isLocal: true, endpoints: local }] : []),
  ];
  const [objects, rules]: [NftObject[], PlannedRule[]] = [[], []];
  for (const { isLocal, endpoints } of kinds) {
    const [map, members] = [affinityMap(name, isLocal), membersSet(name, isLocal)];
    objects.push(affinitySet(map, service, layout), memberSet(members, service, layout));
    objects.push({ kind: 'members', set: members, map, endpoints });
    rules.push(...learnRules({ map, members, seconds }, layout));
  }
  return [...learningChains(options.family), ...objects, { kind: 'chain', name: learnChain(name), rules }];
}

/** Those of a set that clients may be remembered at; a weight of 0 lets nobody stay. */
function membersOf({ servicePort }: ServiceRoute, endpoints: readonly Endpoint[]): readonly string[] {
  const weights = weightsOf(endpoints, servicePort);
  return endpoints
    .filter((_, i) => weights[i] !== 0)
    .map(endpointText)
    .toSorted();
}

/** Policy Local leads to other endpoints than the port's other addresses do: whom a client had by one may not be among those of the other. */
export function hasOwnLocalMap({ clusterEndpoints, localEndpoints }: ServiceRoute): boolean {
  if (clusterEndpoints.length === 0 || localEndpoints.length === 0) return false;
  const known = new Set(clusterEndpoints.map(endpointText));
  return known.size !== localEndpoints.length || localEndpoints.some(endpoint => !known.has(endpointText(endpoint)));
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

const learning = new Map<IPFamily, readonly ChainObject[]>();

/** The chains that all Services with session affinity share: without such a Service no connection pays for them. */
export function learningChains(family: IPFamily): readonly ChainObject[] {
  const known = learning.get(family) ?? planLearning(layoutOf(family));
  learning.set(family, known);
  return known;
}

function planLearning(layout: FamilyLayout): readonly ChainObject[] {
  const rules = [false, true].map(isNodePort => ({
    expressions: [...frontend(layout, 0, { view: 'original', isNodePort }), toVerdict(SETS.learners)],
  }));
  const isSent = [...hasBits(FLOW_STATE, CT_STATE.new), ...hasBits(FLOW_STATUS, CT_STATUS_DNAT)];
  const toLearn = [{ expressions: [...isSent, verdict('goto', CHAINS.learn)] }];
  const at = (name: string, hook: number): ChainObject => {
    return { kind: 'chain', name, base: filterAt(hook, PRIORITY.afterFilter), rules: toLearn };
  };
  return [
    { kind: 'chain', name: CHAINS.learn, rules },
    at(CHAINS.rememberInput, HOOK.input),
    at(CHAINS.rememberForward, HOOK.forward),
    at(CHAINS.rememberOutput, HOOK.output),
  ];
}
