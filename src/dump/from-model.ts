import type { FamilyBackend } from '../backends/family-backend.ts';
import { reachableEndpoints } from '../endpoints/categorize.ts';
import { describeContest } from '../endpoints/claims.ts';
import type { Model, ServicePort, ServiceRoute } from '../endpoints/types.ts';
import type { IPFamily } from '../watch/objects.ts';
import { compareObjects, inPacketOrder, listAll } from './compare.ts';
import type { DumpFormat, OwnedObjects } from './format.ts';
import { kernelFamily, kernelServicePort } from './from-kernel.ts';
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
export interface Observation<O = unknown> {
  /** What was planned last; undefined before the first plan. */
  readonly model: Model | undefined;
  readonly backend: Pick<FamilyBackend<O>, 'planRoute' | 'planShared' | 'isShared' | 'settle' | 'dump'>;
  readonly kernel: ReadonlyMap<string, O>;
  /** Syncs ran while the kernel was read. */
  readonly isMoving: boolean;
}

export interface DaemonView {
  readonly node: string;
  readonly mode: string;
  readonly families: readonly (Observation & { readonly family: IPFamily })[];
  /** Lets others have their turn: thousands of Services take most of a second. */
  readonly pause: () => Promise<void>;
}

/** Routes between two pauses: some 10 ms. */
const SLICE = 64;

/** The daemon's answer: each family compared, or as the kernel has it while nothing is planned yet. */
export async function daemonDump({ node, mode, families, pause }: DaemonView): Promise<DumpState> {
  const described: DumpFamily[] = [];
  for (const { family, model, ...rest } of families) {
    described.push(
      model === undefined
        ? kernelFamily(family, rest.kernel, rest.backend.dump)
        : await modelFamily({ ...rest, model }, pause),
    );
  }
  const contested = contestedLines(families.map(({ model }) => model));
  return { apiVersion: API_VERSION, kind: 'Dump', source: 'daemon', node, mode, families: described, contested };
}

/** What is desired, what is there, and the difference, by ServicePort. */
async function modelFamily<O>(
  { model, backend, kernel, isMoving }: Observation<O> & { readonly model: Model },
  pause: () => Promise<void>,
): Promise<DumpFamily> {
  const { dump: format } = backend;
  const shared = new Map(backend.planShared(model));
  const wanted = new Set(shared.keys());
  const services = new Map<string, DumpServicePort>();
  for (const [key, route] of model.routes) {
    const own = new Map<string, O>();
    for (const [objectKey, object] of backend.planRoute(route)) {
      wanted.add(objectKey);
      (backend.isShared?.(objectKey) === true ? shared : own).set(objectKey, object);
    }
    services.set(key, { ...describeRoute(route), ...withState(compareObjects(own, kernel, backend)) });
    if (services.size % SLICE === 0) await pause();
  }
  const surplus = format.groupByOwner([...kernel].filter(([key]) => !wanted.has(key)).map(([, object]) => object));
  for (const [key, stray] of surplus.owned) services.set(key, withStray(services.get(key), stray, format));
  const strays = surplus.rest.filter(object => format.isLeftOver?.(object) !== true);
  return {
    family: model.family,
    comparison: isMoving ? 'moving' : 'steady',
    services: sortServices([...services.values()]),
    shared: withState([...compareObjects(shared, kernel, backend), ...listAll(strays, 'unexpected', format)]),
  };
}

/** The ServicePort with what the kernel has of it beyond what is desired; from that alone when nothing is. */
function withStray<O>(
  service: DumpServicePort | undefined,
  stray: OwnedObjects<O>,
  format: DumpFormat<O>,
): DumpServicePort {
  if (service === undefined) return kernelServicePort(stray, 'unexpected', format);
  const rules = [...service.rules, ...listAll(stray.objects, 'unexpected', format)];
  return { ...service, ...withState(inPacketOrder(rules, format)) };
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
