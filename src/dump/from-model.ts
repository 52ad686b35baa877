import type { Backend, Plan } from '../backends/backend.ts';
import type { IptablesObject } from '../backends/iptables/objects.ts';
import { reachableEndpoints } from '../endpoints/categorize.ts';
import { describeContest } from '../endpoints/claims.ts';
import type { Model, ServicePort, ServicePortName, ServiceRoute } from '../endpoints/types.ts';
import type { IPFamily } from '../watch/objects.ts';
import { compareObjects } from './compare.ts';
import { kernelFamily, kernelServicePort } from './from-rules.ts';
import { groupByOwner } from './owners.ts';
import {
  API_VERSION,
  type DumpAddress,
  type DumpEndpoint,
  type DumpFamily,
  type DumpServicePort,
  type DumpState,
  sortServices,
  withState,
} from './state.ts';

/** One family as its proxy sees it. */
export interface Observation {
  /** What was planned last; undefined before the first plan. */
  readonly model: Model | undefined;
  readonly backend: Pick<Backend<IptablesObject>, 'planRoute' | 'planShared'>;
  readonly kernel: Plan<IptablesObject>;
  /** Syncs ran while the kernel was read. */
  readonly isMoving: boolean;
}

export interface DaemonView {
  readonly node: string;
  readonly mode: string;
  readonly families: readonly (Observation & { readonly family: IPFamily })[];
}

/** What is desired, what is there, and the difference, by ServicePort. */
export function modelFamily({ model, backend, kernel, isMoving }: Observation & { readonly model: Model }): DumpFamily {
  const shared = backend.planShared(model);
  const routes = [...model.routes].map(([key, route]) => ({ key, route, planned: backend.planRoute(route) }));
  const surplus = findSurplus(kernel, [shared, ...routes.map(({ planned }) => planned)]);
  const services = routes.map(({ key, route, planned }): DumpServicePort => {
    const rules = compareObjects(planned, kernel, surplus.owned.get(key)?.objects ?? []);
    return { ...describeRoute(route), ...withState(rules) };
  });
  for (const [key, stray] of surplus.owned) {
    if (!model.routes.has(key)) services.push(kernelServicePort(stray, 'unexpected'));
  }
  return {
    family: model.family,
    comparison: isMoving ? 'moving' : 'steady',
    services: sortServices(services),
    shared: withState(compareObjects(shared, kernel, surplus.rest)),
  };
}

/** The daemon's answer: each family compared, or as the kernel has it while nothing is planned yet. */
export function daemonDump({ node, mode, families }: DaemonView): DumpState {
  return {
    apiVersion: API_VERSION,
    kind: 'Dump',
    source: 'daemon',
    node,
    mode,
    families: families.map(({ family, model, ...rest }) =>
      model === undefined ? kernelFamily(family, rest.kernel) : modelFamily({ ...rest, model }),
    ),
    contested: contestedLines(families.map(({ model }) => model)),
  };
}

/** A line for each address that several Services claim. */
function contestedLines(models: Iterable<Model | undefined>): string[] {
  const lines: string[] = [];
  for (const model of models) {
    if (model === undefined) continue;
    for (const key of model.contested) lines.push(describeContest(key, model.claims));
  }
  return lines.sort();
}

/** What is in the kernel and in no plan, by owner. Owners are only looked for when there is such a thing. */
function findSurplus(kernel: Plan<IptablesObject>, plans: readonly ReadonlyMap<string, IptablesObject>[]) {
  const wanted = new Set<string>();
  for (const plan of plans) for (const key of plan.keys()) wanted.add(key);
  const surplus = new Set<IptablesObject>();
  for (const [key, object] of kernel) if (!wanted.has(key)) surplus.add(object);
  if (surplus.size === 0) return groupByOwner([]);
  const { owned, rest } = groupByOwner(kernel.values());
  const groups = new Map<string, { name: ServicePortName; objects: IptablesObject[] }>();
  for (const [key, { name, objects }] of owned) {
    const left = objects.filter(object => surplus.has(object));
    if (left.length > 0) groups.set(key, { name, objects: left });
  }
  return { owned: groups, rest: rest.filter(object => surplus.has(object)) };
}

function describeRoute(route: ServiceRoute) {
  const { servicePort } = route;
  const { namespace, name, port, protocol } = servicePort.name;
  return {
    namespace,
    name,
    port,
    protocol,
    addresses: addressesOf(servicePort),
    internalTrafficPolicy: servicePort.isInternalLocal ? 'Local' : 'Cluster',
    externalTrafficPolicy: servicePort.isExternalLocal ? 'Local' : 'Cluster',
    endpoints: endpointsOf(route),
  } as const;
}

function addressesOf(servicePort: ServicePort): DumpAddress[] {
  const { clusterIP, port, nodePort, externalIPs, loadBalancerVIPs } = servicePort;
  return [
    ...(clusterIP === '' ? [] : [{ kind: 'clusterIP', ip: clusterIP, port } as const]),
    ...(nodePort === 0 ? [] : [{ kind: 'nodePort', port: nodePort } as const]),
    ...externalIPs.map(ip => ({ kind: 'externalIP', ip, port }) as const),
    ...loadBalancerVIPs.map(ip => ({ kind: 'loadBalancerIP', ip, port }) as const),
  ];
}

function endpointsOf(route: ServiceRoute): DumpEndpoint[] {
  const used = new Set(reachableEndpoints(route));
  return route.endpoints.map(endpoint => ({
    ip: endpoint.ip,
    port: endpoint.port,
    ready: endpoint.isReady,
    serving: endpoint.isServing,
    terminating: endpoint.isTerminating,
    local: endpoint.isLocal,
    used: used.has(endpoint),
  }));
}
