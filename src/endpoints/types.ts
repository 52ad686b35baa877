import type { Map as ImmutableMap } from 'immutable';
import type { Balancing, EndpointWeight, IPFamily, Protocol } from '../watch/objects.ts';

/** Names one port of one Service, as kube-proxy's ServicePortName does. */
export interface ServicePortName {
  readonly namespace: string;
  readonly name: string;
  /** '' when the port has no name. */
  readonly port: string;
  readonly protocol: Protocol;
}

/** One port of one Service in one IP family: what clients may address, and under which policies. */
export interface ServicePort {
  readonly name: ServicePortName;
  /** '' when the family has none, or when another Service owns this address and port (see claims.ts). */
  readonly clusterIP: string;
  readonly port: number;
  /** 0 when there is none, or when another Service owns it. */
  readonly nodePort: number;
  readonly externalIPs: readonly string[];
  /** Addresses of status.loadBalancer with ipMode VIP. */
  readonly loadBalancerVIPs: readonly string[];
  /** Who may use the load balancer addresses; empty = everybody. */
  readonly loadBalancerSourceRanges: readonly string[];
  /** Who may use the NodePort; empty = everybody. */
  readonly nodePortSourceRanges: readonly string[];
  /** What the Service's own choices keep from being as somebody may expect, for the log; see warnings.ts. */
  readonly warnings: readonly string[];
  /** 0 = no session affinity. */
  readonly affinityTimeoutSeconds: number;
  /** Whether a client that another port of the Service knows goes to the same endpoint address. */
  readonly isAffinityShared: boolean;
  /** Of clients that session affinity doesn't know. */
  readonly balancing: Balancing;
  /** Of this family; empty = all endpoints weigh the same. See weights.ts. */
  readonly endpointWeights: readonly EndpointWeight[];
  readonly isInternalLocal: boolean;
  readonly isExternalLocal: boolean;
  /** 0 when there is none, as for all but load balancers with external policy Local. */
  readonly healthCheckNodePort: number;
  /** Of the Service; settles claims. */
  readonly creationTimestamp: string;
}

/** One address and port behind a ServicePort. */
export interface Endpoint {
  readonly ip: string;
  readonly port: number;
  readonly isReady: boolean;
  readonly isServing: boolean;
  readonly isTerminating: boolean;
  /** It runs on this node. */
  readonly isLocal: boolean;
  /** It runs on this node, or its slice doesn't tell where. */
  readonly mayBeLocal: boolean;
  readonly nodeHints: readonly string[];
  readonly zoneHints: readonly string[];
}

/** What this node does with traffic for a ServicePort. Every backend builds from this and nothing else. */
export interface ServiceRoute {
  readonly servicePort: ServicePort;
  /** All of them, whatever their condition, sorted by address and port. */
  readonly endpoints: readonly Endpoint[];
  /** For policy Cluster; empty when the ServicePort never uses it. */
  readonly clusterEndpoints: readonly Endpoint[];
  /** For policy Local; empty when the ServicePort never uses it. */
  readonly localEndpoints: readonly Endpoint[];
  /** Usable endpoints exist somewhere, if not on this node: decides between refusing and dropping. */
  readonly hasAnyEndpoints: boolean;
}

/** The facts about this node that policy depends on. */
export interface NodeFacts {
  readonly name: string;
  /** Label topology.kubernetes.io/zone, '' when absent. */
  readonly zone: string;
  /** Not of the node, but of its operator: the CIDRs that spec.externalIPs may be of; absent = any (CVE-2020-8554). */
  readonly allowedExternalIPs?: readonly string[];
  readonly ownServer?: OwnServer;
}

/** A Service that this program itself serves on this node: packets need its rules when this program doesn't answer, so they lead to others. */
export interface OwnServer {
  /** namespace/name */
  readonly service: string;
  /** Where this program is among the Service's endpoints: canonical addresses of this node. */
  readonly ips: readonly string[];
}

/** All routes of one IP family. Models share structure: a change of one Service leaves the others' routes identical. */
export interface Model {
  readonly family: IPFamily;
  readonly node: NodeFacts;
  /** By servicePortKey. */
  readonly routes: ImmutableMap<string, ServiceRoute>;
  /** What each Service (namespace/name) asks for, before claims are settled. */
  readonly servicePorts: ImmutableMap<string, readonly ServicePort[]>;
  /** Claimants of each address and port, the owner first (see claims.ts). */
  readonly claims: ImmutableMap<string, readonly ServicePort[]>;
  /** Keys of routes that were added, altered or removed since the Model before. */
  readonly changed: ReadonlySet<string>;
  /** Keys of claims that have more than one claimant. */
  readonly contested: ReadonlySet<string>;
}

/** `namespace/name:port`, kube-proxy's text form; without `:port` when the port has no name. */
export function servicePortText(name: ServicePortName): string {
  return name.port === '' ? `${name.namespace}/${name.name}` : `${name.namespace}/${name.name}:${name.port}`;
}

/** The identity of a ServicePort: two ports may share name and number and differ in protocol. */
export function servicePortKey(name: ServicePortName): string {
  return `${servicePortText(name)}/${name.protocol}`;
}

/** The namespace/name in a servicePortKey: neither part may hold a colon or a slash. */
export function serviceOfKey(key: string): string {
  return /^[^/]*\/[^/:]*/.exec(key)?.[0] ?? key;
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function endpointText(endpoint: { readonly ip: string; readonly port: number }): string {
  return endpoint.ip.includes(':') ? `[${endpoint.ip}]:${endpoint.port}` : `${endpoint.ip}:${endpoint.port}`;
}
