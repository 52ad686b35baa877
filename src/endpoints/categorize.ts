import { isExternallyAccessible } from './service-ports.ts';
import type { Endpoint, NodeFacts, ServicePort } from './types.ts';

export interface Categories {
  readonly clusterEndpoints: readonly Endpoint[];
  readonly localEndpoints: readonly Endpoint[];
  readonly hasAnyEndpoints: boolean;
}

const NONE: readonly Endpoint[] = Object.freeze([]);

/**
 * The whole traffic policy, for every backend. An endpoint is usable when it is ready; when a set has no ready endpoint,
 * those that are serving while terminating take over (KEP-1669), for the cluster set and the local set each by itself.
 * The cluster set is narrowed by topology hints (KEP-2433, KEP-3015); the local set never is. A ServicePort that accepts
 * external traffic always has a cluster set, because pods and the node itself may use it under policy Local too.
 * Where this program itself is an endpoint, the cluster set leaves it out (see OwnServer). Otherwise the same outcome as CategorizeEndpoints in kube-proxy's topology.go.
 */
export function categorize(endpoints: readonly Endpoint[], port: ServicePort, node: NodeFacts): Categories {
  const usesCluster = !port.isInternalLocal || isExternallyAccessible(port);
  const usesLocal = port.isInternalLocal || (port.isExternalLocal && isExternallyAccessible(port));
  const elsewhere = withoutOwnServer(endpoints, port, node);
  const ready = filterShared(elsewhere, endpoint => endpoint.isReady);
  const anywhere = ready.length > 0 ? ready : filterShared(elsewhere, isDraining);
  const clusterEndpoints = usesCluster ? withinTopology(anywhere, ready, node) : NONE;
  const localEndpoints = usesLocal ? localOf(endpoints) : NONE;
  return { clusterEndpoints, localEndpoints, hasAnyEndpoints: anywhere.length > 0 || localEndpoints.length > 0 };
}

/** Endpoints that traffic can reach from this node by either policy, each once. */
export function reachableEndpoints(categories: Categories): readonly Endpoint[] {
  const { clusterEndpoints, localEndpoints } = categories;
  if (localEndpoints.length === 0) return clusterEndpoints;
  if (clusterEndpoints.length === 0) return localEndpoints;
  const extra = clusterEndpoints.filter(endpoint => !localEndpoints.includes(endpoint));
  return extra.length === 0 ? localEndpoints : [...localEndpoints, ...extra];
}

/** For the cluster set: the others, as far as one of them is ready. The local set has nobody else. */
function withoutOwnServer(
  endpoints: readonly Endpoint[],
  { name }: ServicePort,
  { ownServer }: NodeFacts,
): readonly Endpoint[] {
  if (ownServer?.service !== `${name.namespace}/${name.name}`) return endpoints;
  const others = endpoints.filter(({ ip }) => !ownServer.ips.includes(ip));
  return others.some(({ isReady }) => isReady) ? others : endpoints;
}

function isDraining(endpoint: Endpoint): boolean {
  return endpoint.isServing && endpoint.isTerminating;
}

function localOf(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const local = filterShared(endpoints, endpoint => endpoint.isLocal);
  const ready = filterShared(local, endpoint => endpoint.isReady);
  return ready.length > 0 ? ready : filterShared(local, isDraining);
}

/**
 * Hints hold only when every ready endpoint has one and one of them names this node (or its zone): a partial set of hints
 * means that the controller is still at work, and following it would send everything to a few endpoints.
 */
function withinTopology(usable: readonly Endpoint[], ready: readonly Endpoint[], node: NodeFacts): readonly Endpoint[] {
  if (ready.length === 0) return usable;
  if (ready.every(endpoint => endpoint.nodeHints.length > 0)) {
    const here = filterShared(ready, endpoint => endpoint.nodeHints.includes(node.name));
    if (here.length > 0) return here;
  }
  if (node.zone === '' || !ready.every(endpoint => endpoint.zoneHints.length > 0)) return usable;
  const here = filterShared(ready, endpoint => endpoint.zoneHints.includes(node.zone));
  return here.length > 0 ? here : usable;
}

/** Like filter, but the same array where nothing is left out: most Services have only ready endpoints. */
function filterShared<T>(list: readonly T[], predicate: (item: T) => boolean): readonly T[] {
  return list.every(predicate) ? list : list.filter(predicate);
}
