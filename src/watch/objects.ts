/**
 * The API objects as the rest of the program sees them: only the fields that are used, checked and canonical.
 * `trim.ts` makes them at the border; whatever was impossible in the original is left out there and named in a Problem.
 * Sources: core/v1 and discovery.k8s.io/v1 API types.
 */

export type Protocol = 'TCP' | 'UDP' | 'SCTP';
export type IPFamily = 'IPv4' | 'IPv6';
export type TrafficPolicy = 'Cluster' | 'Local';

/** How the endpoint of a new connection is chosen. */
export type Balancing = 'random' | 'source-hash';

/** The weight of the endpoints whose address is in a range, where no narrower range has it too. */
export interface EndpointWeight {
  /** Canonical; one address is a range of its full length. */
  readonly cidr: string;
  /** 0 to 100, beside 1 of endpoints in no range; 0 = no new connections. */
  readonly weight: number;
}

/** What is wrong with a foreign object: `object` as `Service default/web`, `field` as `spec.ports[0].port`. */
export interface Problem {
  readonly object: string;
  readonly field: string;
  readonly message: string;
}

export interface ServicePortSpec {
  /** '' when the port has no name. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** 0 when there is none. */
  readonly nodePort: number;
}

export interface LoadBalancerIngress {
  readonly ip: string;
  /** core/v1 LoadBalancerIngress.ipMode; VIP when absent. */
  readonly ipMode: 'VIP' | 'Proxy';
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** RFC 3339 as the API server writes it, '' when unknown. Compares as text. */
  readonly creationTimestamp: string;
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';
  /** Canonical addresses; empty for headless and ExternalName Services. */
  readonly clusterIPs: readonly string[];
  readonly isHeadless: boolean;
  readonly externalName: string;
  readonly externalIPs: readonly string[];
  readonly loadBalancerIngress: readonly LoadBalancerIngress[];
  /** Canonical CIDRs. */
  readonly loadBalancerSourceRanges: readonly string[];
  readonly ports: readonly ServicePortSpec[];
  /** 0 = no session affinity; else spec.sessionAffinityConfig.clientIP.timeoutSeconds (default 10800). */
  readonly affinityTimeoutSeconds: number;
  readonly internalTrafficPolicy: TrafficPolicy;
  readonly externalTrafficPolicy: TrafficPolicy;
  /** 0 when there is none. */
  readonly healthCheckNodePort: number;
  readonly publishNotReadyAddresses: boolean;
  /** Label service.kubernetes.io/service-proxy-name: another proxy serves this Service. '' when absent, '-' when empty. */
  readonly serviceProxyName: string;
  /** Annotation kproxy-ts.dev/node-port-source-ranges, canonical CIDRs; empty = everybody may use the NodePorts. */
  readonly nodePortSourceRanges: readonly string[];
  /** Annotation kproxy-ts.dev/session-affinity-scope: whether each port remembers its clients, or the Service does. */
  readonly affinityScope: 'Port' | 'Service';
  /** Annotation kproxy-ts.dev/load-balancing. */
  readonly balancing: Balancing;
  /** Annotation kproxy-ts.dev/endpoint-weights, each range once; empty = all endpoints weigh the same. */
  readonly endpointWeights: readonly EndpointWeight[];
}

export interface SlicePort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

export interface SliceEndpoint {
  /** Canonical, never empty. Consumers use the first (KEP-2255); the API says all are fungible. */
  readonly addresses: readonly string[];
  /** nil counts as true. */
  readonly ready: boolean;
  /** nil counts as true. */
  readonly serving: boolean;
  readonly terminating: boolean;
  /** '' when unknown. */
  readonly nodeName: string;
  readonly zone: string;
  readonly hostname: string;
  /** targetRef.name, only where it was asked for and there is one. */
  readonly podName?: string;
  /** hints.forNodes and hints.forZones, names only. */
  readonly nodeHints: readonly string[];
  readonly zoneHints: readonly string[];
}

export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** Label kubernetes.io/service-name. */
  readonly serviceName: string;
  readonly family: IPFamily;
  /** Label service.kubernetes.io/headless is present. */
  readonly isHeadless: boolean;
  /** Annotation endpoints.kubernetes.io/last-change-trigger-time: when what led to this state happened, in ms since 1970; 0 = unknown. */
  readonly changeTriggerMs: number;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly SliceEndpoint[];
}

export interface NodeAddress {
  readonly type: string;
  readonly address: string;
}

export interface Node {
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Canonical CIDRs. */
  readonly podCIDRs: readonly string[];
  readonly addresses: readonly NodeAddress[];
  /** Keys only. */
  readonly taints: readonly string[];
  readonly isDeleting: boolean;
}

/** networking.k8s.io/v1: ranges that cluster IPs are given out of. */
export interface ServiceCIDR {
  readonly name: string;
  /** Canonical, one or two (of different families). */
  readonly cidrs: readonly string[];
}

export interface Namespace {
  readonly name: string;
}

/** A pod that runs, or is about to: not one that has ended. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  /** status.podIPs, canonical; empty = none yet. */
  readonly ips: readonly string[];
}

/** The kinds that are watched, with the trimmed type of each. */
export interface ObjectByKind {
  Service: Service;
  EndpointSlice: EndpointSlice;
  Node: Node;
  ServiceCIDR: ServiceCIDR;
  Namespace: Namespace;
  Pod: Pod;
}
export type Kind = keyof ObjectByKind;

/** namespace/name, or the bare name where namespace is ''. */
export function objectKey(object: { readonly namespace?: string; readonly name: string }): string {
  return object.namespace === undefined || object.namespace === '' ? object.name : `${object.namespace}/${object.name}`;
}
