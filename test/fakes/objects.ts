import { Map as ImmutableMap } from 'immutable';
import type { Endpoint, ServicePort } from '../../src/endpoints/types.ts';
import type { EndpointSlice, Service, SliceEndpoint } from '../../src/watch/objects.ts';
import type { Snapshot } from '../../src/watch/snapshot.ts';

/** Objects with every field filled in, so that a test names only what it is about. */
export function service(fields: Partial<Service> = {}): Service {
  return {
    namespace: 'default',
    name: 'web',
    uid: 'u1',
    creationTimestamp: '2026-01-01T00:00:00Z',
    type: 'ClusterIP',
    clusterIPs: ['10.96.0.10'],
    isHeadless: false,
    externalName: '',
    externalIPs: [],
    loadBalancerIngress: [],
    loadBalancerSourceRanges: [],
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 0 }],
    affinityTimeoutSeconds: 0,
    internalTrafficPolicy: 'Cluster',
    externalTrafficPolicy: 'Cluster',
    healthCheckNodePort: 0,
    publishNotReadyAddresses: false,
    serviceProxyName: '',
    nodePortSourceRanges: [],
    affinityScope: 'Port',
    balancing: 'random',
    endpointWeights: [],
    ...fields,
  };
}

export function sliceEndpoint(ip: string, fields: Partial<SliceEndpoint> = {}): SliceEndpoint {
  return {
    addresses: [ip],
    ready: true,
    serving: true,
    terminating: false,
    nodeName: '',
    zone: '',
    hostname: '',
    nodeHints: [],
    zoneHints: [],
    ...fields,
  };
}

export function slice(fields: Partial<EndpointSlice> = {}): EndpointSlice {
  return {
    namespace: 'default',
    name: 'web-1',
    serviceName: 'web',
    family: 'IPv4',
    isHeadless: false,
    changeTriggerMs: 0,
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: [sliceEndpoint('10.244.1.2'), sliceEndpoint('10.244.2.2')],
    ...fields,
  };
}

export function snapshot(services: readonly Service[], slices: readonly EndpointSlice[] = []): Snapshot {
  const byService = new Map<string, Map<string, EndpointSlice>>();
  for (const item of slices) {
    const key = `${item.namespace}/${item.serviceName}`;
    byService.set(key, (byService.get(key) ?? new Map()).set(item.name, item));
  }
  return {
    services: ImmutableMap(services.map(item => [`${item.namespace}/${item.name}`, item])),
    slices: ImmutableMap([...byService].map(([key, items]) => [key, ImmutableMap(items)])),
    nodes: ImmutableMap(),
    serviceCIDRs: [],
    namespaces: ImmutableMap(),
    pods: ImmutableMap(),
  };
}

export function servicePort(fields: Partial<ServicePort> = {}): ServicePort {
  return {
    name: { namespace: 'default', name: 'web', port: 'http', protocol: 'TCP' },
    clusterIP: '10.96.0.10',
    port: 80,
    nodePort: 0,
    externalIPs: [],
    loadBalancerVIPs: [],
    loadBalancerSourceRanges: [],
    nodePortSourceRanges: [],
    warnings: [],
    affinityTimeoutSeconds: 0,
    isAffinityShared: false,
    balancing: 'random',
    endpointWeights: [],
    isInternalLocal: false,
    isExternalLocal: false,
    healthCheckNodePort: 0,
    creationTimestamp: '2026-01-01T00:00:00Z',
    ...fields,
  };
}

export function endpoint(ip: string, fields: Partial<Endpoint> = {}): Endpoint {
  return {
    ip,
    port: 8080,
    isReady: true,
    isServing: true,
    isTerminating: false,
    isLocal: false,
    mayBeLocal: fields.isLocal ?? false,
    nodeHints: [],
    zoneHints: [],
    ...fields,
  };
}

/** kube-proxy's defaults with the usual clusterCIDR. */
export const IPTABLES_OPTIONS = {
  family: 'IPv4',
  masqueradeBit: 14,
  masqueradeAll: false,
  localDetector: { kind: 'source', cidr: '10.244.0.0/16' },
  nodePortAddresses: 'all',
  hasLocalhostNodePorts: false,
  dropsInvalid: true,
} as const;

/** The same for IPv6. */
export const IPTABLES_OPTIONS_V6 = {
  ...IPTABLES_OPTIONS,
  family: 'IPv6',
  localDetector: { kind: 'source', cidr: 'fd00:10:244::/56' },
} as const;

/** What the nftables mode's rules depend on, likewise. */
export const NFTABLES_OPTIONS = {
  family: 'IPv4',
  masqueradeAll: false,
  localDetector: { kind: 'source', cidr: '10.244.0.0/16' },
  nodePortAddresses: 'all',
  dropsInvalid: true,
  serviceCIDRs: ['10.96.0.0/12'],
} as const;

/** The same for IPv6. */
export const NFTABLES_OPTIONS_V6 = {
  ...NFTABLES_OPTIONS,
  family: 'IPv6',
  localDetector: { kind: 'source', cidr: 'fd00:10:244::/56' },
  serviceCIDRs: ['fd00:10:96::/108'],
} as const;
