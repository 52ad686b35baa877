/**
 * Which EndpointSlices a Service should have, from its Pods. Pure: objects in, slice contents out.
 * Source: staging/src/k8s.io/endpointslice/{reconciler,utils}.go of Kubernetes 1.36.
 */
import { familyOf, type IPFamily } from './addresses.ts';
import type { PodObject, ServiceObject, ServicePort, SliceEndpoint, SlicePort } from './kinds.ts';

/** Endpoints per slice; kube-controller-manager --max-endpoints-per-slice. */
export const maxEndpointsPerSlice = 100;

export interface SliceContent {
  readonly addressType: IPFamily;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly SliceEndpoint[];
}

export interface SliceInput {
  readonly service: ServiceObject;
  /** The Pods that the Service selects. */
  readonly pods: readonly PodObject[];
  /** Zone of a node, '' when unknown. */
  readonly zoneOf: (nodeName: string) => string;
}

function isReady(pod: PodObject): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
}

/** Pods that ended, and Pods without an address, are no endpoints. */
function addressOf(pod: PodObject, family: IPFamily): string | undefined {
  const { phase, podIP, podIPs } = pod.status ?? {};
  if (phase === 'Failed' || phase === 'Succeeded') return undefined;
  const addresses = podIPs?.map(({ ip }) => ip) ?? (podIP === undefined ? [] : [podIP]);
  return addresses.find(address => familyOf(address) === family);
}

function endpointOf(input: SliceInput, pod: PodObject, address: string): SliceEndpoint {
  const { service, zoneOf } = input;
  const { name = '', namespace = '', uid = '', deletionTimestamp } = pod.metadata;
  const isTerminating = deletionTimestamp !== undefined;
  const serving = isReady(pod);
  const ready = service.spec.publishNotReadyAddresses === true || (serving && !isTerminating);
  const nodeName = pod.spec?.nodeName;
  const zone = nodeName === undefined ? '' : zoneOf(nodeName);
  const { hostname = '', subdomain = '' } = pod.spec ?? {};
  const isNamed = hostname !== '' && subdomain === service.metadata.name;
  return {
    addresses: [address],
    conditions: { ready, serving, terminating: isTerminating },
    ...(isNamed ? { hostname } : {}),
    targetRef: { kind: 'Pod', namespace, name, uid },
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(zone === '' ? {} : { zone }),
  };
}

/** The number behind a targetPort on a Pod, undefined when the Pod has no port of that name. */
function portNumber(port: ServicePort, pod: PodObject): number | undefined {
  const target = port.targetPort === undefined || port.targetPort === 0 ? port.port : port.targetPort;
  if (typeof target === 'number') return target;
  const ports = (pod.spec?.containers ?? []).flatMap(container => container.ports ?? []);
  return ports.find(({ name, protocol = 'TCP' }) => name === target && protocol === (port.protocol ?? 'TCP'))
    ?.containerPort;
}

/** The ports of a Service as they are on one Pod; a name that the Pod lacks is left out. */
function portsOn(service: ServiceObject, pod: PodObject): SlicePort[] {
  return (service.spec.ports ?? []).flatMap(port => {
    const number = portNumber(port, pod);
    if (number === undefined) return [];
    const { appProtocol } = port;
    const base = { name: port.name ?? '', protocol: port.protocol ?? 'TCP', port: number };
    return [appProtocol === undefined ? base : { ...base, appProtocol }];
  });
}

function familiesOf(service: ServiceObject): readonly IPFamily[] {
  const families = (service.spec.ipFamilies ?? ['IPv4']).map(family => (family === 'IPv6' ? 'IPv6' : 'IPv4'));
  return [...new Set<IPFamily>(families)];
}

/** Endpoints in a fixed order, so that the same Pods always give the same slices. */
function byName(left: PodObject, right: PodObject): number {
  return (left.metadata.name ?? '') < (right.metadata.name ?? '') ? -1 : 1;
}

function slicesOfFamily(input: SliceInput, family: IPFamily): SliceContent[] {
  const groups = new Map<string, { ports: SlicePort[]; endpoints: SliceEndpoint[] }>();
  for (const pod of [...input.pods].sort(byName)) {
    const address = addressOf(pod, family);
    if (address === undefined) continue;
    const ports = portsOn(input.service, pod);
    const key = JSON.stringify(ports);
    const group = groups.get(key) ?? { ports, endpoints: [] };
    group.endpoints.push(endpointOf(input, pod, address));
    groups.set(key, group);
  }
  // A Service without endpoints still has one slice, without ports, to be found by.
  if (groups.size === 0) return [{ addressType: family, ports: [], endpoints: [] }];
  return [...groups.values()].flatMap(({ ports, endpoints }) => {
    const slices: SliceContent[] = [];
    for (let from = 0; from < endpoints.length; from += maxEndpointsPerSlice) {
      slices.push({ addressType: family, ports, endpoints: endpoints.slice(from, from + maxEndpointsPerSlice) });
    }
    return slices;
  });
}

/** The slices that a Service with a selector should have: per family, per set of target ports, 100 endpoints each. */
export function planSlices(input: SliceInput): SliceContent[] {
  return familiesOf(input.service).flatMap(family => slicesOfFamily(input, family));
}
