/** Services and their slices as names see them. Pure. */
import { canonicalIP } from '../../net/ip.ts';
import type { EndpointSlice, Service, SliceEndpoint } from '../../watch/objects.ts';
import { type DnsEndpointGroup, type DnsPort, type DnsService, packedEndpoint } from './dns-service.ts';

export interface ServiceNaming {
  /** An endpoint without a hostname is called as its pod. */
  readonly endpointPodNames: boolean;
}

/** Undefined for what has no name in the cluster. */
export function dnsServiceOf(
  service: Service,
  slices: Iterable<EndpointSlice>,
  naming: ServiceNaming,
): DnsService | undefined {
  const { namespace, name, clusterIPs, ports } = service;
  const kind = kindOf(service);
  if (kind === undefined) return undefined;
  const groups = kind === 'external-name' ? [] : [...slices].flatMap(slice => groupOf(slice, naming));
  const externalName = kind === 'external-name' ? plainName(service.externalName) : '';
  return { namespace, name, kind, clusterIPs, externalName, ports: ports.map(portOf), groups };
}

function kindOf({ type, isHeadless, clusterIPs, externalName }: Service): DnsService['kind'] | undefined {
  if (type === 'ExternalName') return isName(plainName(externalName)) ? 'external-name' : undefined;
  if (isHeadless) return 'headless';
  return clusterIPs.length > 0 ? 'cluster-ip' : undefined;
}

function plainName(name: string): string {
  return name.replace(/\.$/, '').toLowerCase();
}

/** Whether somebody could resolve it: no address, and no more than the bytes of RFC 1035 §2.3.4. */
function isName(name: string): boolean {
  return name.length <= 253 && name.split('.').every(isLabel) && canonicalIP(name) === undefined;
}

/** RFC 1035 §2.3.1 and the underscore. */
function isLabel(label: string): boolean {
  return /^[\w-]{1,63}$/.test(label);
}

function portOf({ name, protocol, port }: DnsPort): DnsPort {
  return { name, protocol, port };
}

function groupOf({ endpoints, ports }: EndpointSlice, naming: ServiceNaming): readonly DnsEndpointGroup[] {
  const lines = endpoints
    .filter(({ ready }) => ready)
    .flatMap(endpoint => endpoint.addresses.map(ip => packedEndpoint(ip, labelOf(endpoint, naming))));
  return lines.length === 0 ? [] : [{ ports: ports.map(portOf), packed: lines.join('\n') }];
}

function labelOf({ hostname, podName = '' }: SliceEndpoint, { endpointPodNames }: ServiceNaming): string | undefined {
  if (isLabel(hostname)) return hostname.toLowerCase();
  return endpointPodNames && isLabel(podName) ? podName.toLowerCase() : undefined;
}
