/**
 * The border: raw API objects in, trimmed, checked and canonical objects out. Nothing behind this file checks again. One
 * impossible part never costs the rest: it is left out and named. Field meanings: core/v1 and discovery.k8s.io/v1.
 */
import { ipFamily } from '../net/ip.ts';
import { ownText } from '../text/own-text.ts';
import {
  addressesOf,
  addressOf,
  allowListOf,
  childOf,
  compactOf,
  EMPTY,
  entriesOf,
  type Fields,
  flagOf,
  integerOf,
  isPlainName,
  isRecord,
  listOf,
  mapItems,
  noteProblem,
  rangesOf,
  textOf,
  wordOf,
} from './fields.ts';
import type {
  EndpointSlice,
  IPFamily,
  Kind,
  LoadBalancerIngress,
  Node,
  NodeAddress,
  ObjectByKind,
  Problem,
  Service,
  ServiceCIDR,
  SliceEndpoint,
} from './objects.ts';
import { objectKey } from './objects.ts';
import { serviceAnnotationsOf } from './trim-annotations.ts';
import { MAX_PORT, portsOf, slicePortOf } from './trim-ports.ts';

/** What is left of a raw object. */
export interface Trimmed<T> {
  /** namespace/name; undefined when the raw object has no name. */
  readonly key: string | undefined;
  /** undefined when there is nothing to serve: no such object, or one that isn't for us. */
  readonly object?: T;
  readonly problems: readonly Problem[];
}

const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';
export const HEADLESS_LABEL = 'service.kubernetes.io/headless';
const TRIGGER_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time';
const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';
/** core/v1 DefaultClientIPServiceAffinitySeconds and its maximum, one day. */
const DEFAULT_AFFINITY_SECONDS = 10800;
const MAX_AFFINITY_SECONDS = 86400;

interface Metadata {
  readonly namespace: string;
  readonly name: string;
  readonly fields: Fields;
}

/** Reads an object that has a name; `kind` is how its problems name it. */
export function trimNamed<T>(
  kind: string,
  raw: unknown,
  read: (fields: Fields, metadata: Metadata) => T | undefined,
): Trimmed<T> {
  const problems: Problem[] = [];
  const source = isRecord(raw) ? raw : {};
  const metadata = isRecord(source.metadata) ? source.metadata : {};
  const { name, namespace } = metadata;
  if (typeof name !== 'string' || name === '') {
    const object = typeof namespace === 'string' && namespace !== '' ? `${kind} ${namespace}/` : kind;
    return { key: undefined, problems: [{ object, field: 'metadata.name', message: 'has no name: not an object' }] };
  }
  if (!isPlainName(name) || (typeof namespace === 'string' && namespace !== '' && !isPlainName(namespace))) {
    const field = isPlainName(name) ? 'metadata.namespace' : 'metadata.name';
    const message = `${JSON.stringify(field === 'metadata.name' ? name : namespace)} is not a name that the API allows`;
    return { key: undefined, problems: [{ object: `${kind} ${JSON.stringify(name)}`, field, message }] };
  }
  const identity = { namespace: typeof namespace === 'string' ? ownText(namespace) : '', name: ownText(name) };
  const key = objectKey(identity);
  const fields = { raw: source, path: '', object: `${kind} ${key}`, problems };
  const object = read(fields, { ...identity, fields: childOf(fields, 'metadata') });
  const found = problems.length === 0 ? EMPTY : problems;
  return object === undefined ? { key, problems: found } : { key, object, problems: found };
}

function ingressOf(ingress: Fields): LoadBalancerIngress | undefined {
  const value = ingress.raw.ip;
  // An entry of a load balancer that has only a hostname needs nothing on the node.
  if (value === undefined || value === null || value === '') return undefined;
  const ip = addressOf(ingress, 'ip', value);
  return ip === undefined ? undefined : { ip, ipMode: wordOf(ingress, 'ipMode', ['VIP', 'Proxy']) };
}

/** spec.clusterIP is the first of spec.clusterIPs; objects from before dual stack (1.20) and from files have only it. */
function clusterIPsOf(spec: Fields): { clusterIPs: readonly string[]; isHeadless: boolean } {
  const all = listOf(spec, 'clusterIPs');
  const single = spec.raw.clusterIP;
  if (all.includes('None') || single === 'None') return { clusterIPs: EMPTY, isHeadless: true };
  if (all.length > 0) return { clusterIPs: addressesOf(spec, 'clusterIPs'), isHeadless: false };
  if (single === undefined || single === null || single === '') return { clusterIPs: EMPTY, isHeadless: false };
  const address = addressOf(spec, 'clusterIP', single);
  return { clusterIPs: address === undefined ? EMPTY : [address], isHeadless: false };
}

function affinitySecondsOf(spec: Fields): number {
  if (wordOf(spec, 'sessionAffinity', ['None', 'ClientIP']) === 'None') return 0;
  const clientIP = childOf(childOf(spec, 'sessionAffinityConfig'), 'clientIP');
  const seconds = integerOf(clientIP, 'timeoutSeconds', 1, MAX_AFFINITY_SECONDS);
  return seconds === undefined || seconds === 0 ? DEFAULT_AFFINITY_SECONDS : seconds;
}

/** '' without the label; '-' (no valid label value) for a label without value, which takes a Service away from us too. */
function proxyNameOf(metadata: Fields): string {
  const labels = childOf(metadata, 'labels');
  return PROXY_NAME_LABEL in labels.raw ? textOf(labels, PROXY_NAME_LABEL) || '-' : '';
}

/** Trims a core/v1 Service. */
export function trimService(raw: unknown): Trimmed<Service> {
  return trimNamed('Service', raw, (fields, { namespace, name, fields: metadata }) => {
    const spec = childOf(fields, 'spec');
    const type = wordOf(spec, 'type', ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName']);
    const isExternalName = type === 'ExternalName';
    const { clusterIPs, isHeadless } = isExternalName ? { clusterIPs: EMPTY, isHeadless: false } : clusterIPsOf(spec);
    return {
      namespace,
      name,
      uid: textOf(metadata, 'uid'),
      creationTimestamp: textOf(metadata, 'creationTimestamp'),
      type,
      clusterIPs,
      isHeadless,
      externalName: isExternalName ? textOf(spec, 'externalName') : '',
      externalIPs: addressesOf(spec, 'externalIPs'),
      loadBalancerIngress: mapItems(childOf(childOf(fields, 'status'), 'loadBalancer'), 'ingress', ingressOf),
      loadBalancerSourceRanges: allowListOf(
        spec,
        'loadBalancerSourceRanges',
        'the load balancer addresses let nobody in',
      ),
      ports: portsOf(spec),
      affinityTimeoutSeconds: affinitySecondsOf(spec),
      internalTrafficPolicy: wordOf(spec, 'internalTrafficPolicy', ['Cluster', 'Local']),
      externalTrafficPolicy: wordOf(spec, 'externalTrafficPolicy', ['Cluster', 'Local']),
      healthCheckNodePort: integerOf(spec, 'healthCheckNodePort', 0, MAX_PORT) ?? 0,
      publishNotReadyAddresses: flagOf(spec, 'publishNotReadyAddresses', false),
      serviceProxyName: proxyNameOf(metadata),
      ...serviceAnnotationsOf(metadata),
    };
  });
}

function endpointAddressesOf(endpoint: Fields, family: IPFamily): readonly string[] {
  const values = listOf(endpoint, 'addresses');
  if (values.length === 0) noteProblem(endpoint, 'addresses', values, 'has no address');
  const addresses: string[] = [];
  for (const [index, value] of values.entries()) {
    const address = addressOf(endpoint, `addresses[${index}]`, value);
    if (address === undefined) continue;
    if (ipFamily(address) === family) addresses.push(address);
    else noteProblem(endpoint, `addresses[${index}]`, value, `is not an ${family} address, as addressType says`);
  }
  return compactOf(addresses);
}

/** Reads names lists of one slice: most endpoints of a zone carry the same hints, so equal lists are one list. */
function namesReader(): (fields: Fields, name: string) => readonly string[] {
  const known = new Map<string, readonly string[]>();
  return (fields, name) => {
    const names = mapItems(fields, name, item => textOf(item, 'name') || undefined);
    if (names.length === 0) return EMPTY;
    const id = names.join('\n');
    const shared = known.get(id) ?? names;
    known.set(id, shared);
    return shared;
  };
}

export interface EndpointTrimming {
  /** Keeps targetRef.name, about 50 bytes for each endpoint: only names of endpoints in DNS use it, and only where that is configured. */
  readonly keepsPodNames: boolean;
}

export const PLAIN_TRIMMING: EndpointTrimming = { keepsPodNames: false };

/** The endpoint with its targetRef.name, when it is asked for; else as it is, so that nothing is spent on it. */
export function withPodName(
  endpoint: SliceEndpoint,
  fields: Fields,
  { keepsPodNames }: EndpointTrimming,
): SliceEndpoint {
  const podName = keepsPodNames ? textOf(childOf(fields, 'targetRef'), 'name') : '';
  return podName === '' ? endpoint : { ...endpoint, podName };
}

function endpointReader(family: IPFamily, trimming: EndpointTrimming): (endpoint: Fields) => SliceEndpoint | undefined {
  const namesOf = namesReader();
  return endpoint => {
    const addresses = endpointAddressesOf(endpoint, family);
    if (addresses.length === 0) return undefined;
    const conditions = childOf(endpoint, 'conditions');
    const hints = childOf(endpoint, 'hints');
    const trimmed = {
      addresses,
      ready: flagOf(conditions, 'ready', true),
      serving: flagOf(conditions, 'serving', true),
      terminating: flagOf(conditions, 'terminating', false),
      nodeName: textOf(endpoint, 'nodeName'),
      zone: textOf(endpoint, 'zone'),
      hostname: textOf(endpoint, 'hostname'),
      nodeHints: namesOf(hints, 'forNodes'),
      zoneHints: namesOf(hints, 'forZones'),
    };
    return withPodName(trimmed, endpoint, trimming);
  };
}

/** The endpoints controllers note when the pod or Service changed whose change they follow; what can't be read is no time. */
function changeTriggerOf(metadata: Fields): number {
  const ms = Date.parse(textOf(childOf(metadata, 'annotations'), TRIGGER_ANNOTATION));
  return Number.isNaN(ms) ? 0 : ms;
}

/**
 * Trims a discovery.k8s.io/v1 EndpointSlice. One without the label kubernetes.io/service-name belongs to no Service: no
 * object and no Problem. One of FQDNs has nothing to forward to: no object and one Problem.
 */
export function trimEndpointSlice(raw: unknown, trimming = PLAIN_TRIMMING): Trimmed<EndpointSlice> {
  return trimNamed('EndpointSlice', raw, (fields, { namespace, name, fields: metadata }) => {
    const labels = childOf(metadata, 'labels');
    const serviceName = textOf(labels, SERVICE_NAME_LABEL);
    if (serviceName === '') return undefined;
    const family = fields.raw.addressType;
    if (family !== 'IPv4' && family !== 'IPv6') {
      noteProblem(fields, 'addressType', family ?? null, 'is neither IPv4 nor IPv6; the slice is ignored');
      return undefined;
    }
    return {
      namespace,
      name,
      serviceName,
      family,
      isHeadless: HEADLESS_LABEL in labels.raw,
      changeTriggerMs: changeTriggerOf(metadata),
      ports: mapItems(fields, 'ports', slicePortOf),
      endpoints: mapItems(fields, 'endpoints', endpointReader(family, trimming)),
    };
  });
}

/** Addresses of the types Hostname, InternalDNS and ExternalDNS are names and stay as they are. */
function nodeAddressOf(address: Fields): NodeAddress | undefined {
  const type = textOf(address, 'type');
  const isIP = type === 'InternalIP' || type === 'ExternalIP';
  const value = isIP ? addressOf(address, 'address', address.raw.address) : textOf(address, 'address');
  return value === undefined || value === '' ? undefined : { type, address: value };
}

/** Trims a core/v1 Node. */
export function trimNode(raw: unknown): Trimmed<Node> {
  return trimNamed('Node', raw, (fields, { name, fields: metadata }) => {
    const spec = childOf(fields, 'spec');
    const hasOnlyOne = listOf(spec, 'podCIDRs').length === 0 && textOf(spec, 'podCIDR') !== '';
    const ranges = hasOnlyOne ? { ...spec, raw: { podCIDRs: [spec.raw.podCIDR] } } : spec;
    return {
      name,
      uid: textOf(metadata, 'uid'),
      labels: entriesOf(metadata, 'labels', () => true),
      podCIDRs: rangesOf(ranges, 'podCIDRs'),
      addresses: mapItems(childOf(fields, 'status'), 'addresses', nodeAddressOf),
      taints: mapItems(spec, 'taints', taint => textOf(taint, 'key') || undefined),
      isDeleting: textOf(metadata, 'deletionTimestamp') !== '',
    };
  });
}

/** Trims a networking.k8s.io/v1 ServiceCIDR (Kubernetes 1.33). */
function trimServiceCIDR(raw: unknown): Trimmed<ServiceCIDR> {
  return trimNamed('ServiceCIDR', raw, (fields, { name }) => ({
    name,
    cidrs: rangesOf(childOf(fields, 'spec'), 'cidrs'),
  }));
}

/** The trimmer of each kind. */
export const TRIMMERS: { readonly [K in Kind]: (raw: unknown) => Trimmed<ObjectByKind[K]> } = {
  Service: trimService,
  EndpointSlice: trimEndpointSlice,
  Node: trimNode,
  ServiceCIDR: trimServiceCIDR,
};
