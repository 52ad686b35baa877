/** Services and their slices as names see them. Pure. */

import { canonicalIP } from '../../net/ip.ts';
import type { EndpointSlice, Service } from '../../watch/objects.ts';
import type { DnsEndpoint, DnsPort, DnsService } from './cluster.ts';
import { labelOfAddress } from './reverse.ts';

/** Undefined for what has no name in the cluster. */
export function dnsServiceOf(service: Service, slices: Iterable<EndpointSlice>): DnsService | undefined {
  const { namespace, name, clusterIPs, ports } = service;
  const kind = kindOf(service);
  if (kind === undefined) return undefined;
  const endpoints = kind === 'external-name' ? [] : [...slices].flatMap(endpointsOf);
  const externalName = service.externalName.replace(/\.$/, '').toLowerCase();
  return { namespace, name, kind, clusterIPs, externalName, ports: ports.map(portOf), endpoints };
}

function kindOf({ type, isHeadless, clusterIPs, externalName }: Service): DnsService['kind'] | undefined {
  // An address as the name: nobody could resolve it.
  if (type === 'ExternalName')
    return externalName === '' || canonicalIP(externalName) !== undefined ? undefined : 'external-name';
  if (isHeadless) return 'headless';
  return clusterIPs.length > 0 ? 'cluster-ip' : undefined;
}

function portOf({ name, protocol, port }: DnsPort): DnsPort {
  return { name, protocol, port };
}

function endpointsOf({ endpoints, ports }: EndpointSlice): readonly DnsEndpoint[] {
  const own = ports.map(portOf);
  return endpoints
    .filter(({ ready }) => ready)
    .flatMap(({ addresses, hostname }) =>
      addresses.map(ip => ({ ip, label: hostname === '' ? labelOfAddress(ip) : hostname.toLowerCase(), ports: own })),
    );
}
