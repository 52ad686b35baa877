import type { IPFamily, Service } from '../watch/objects.ts';
import type { ServicePort } from './types.ts';

const NONE: readonly never[] = Object.freeze([]);

/** The family of a canonical address. */
function isOfFamily(family: IPFamily): (address: string) => boolean {
  return address => address.includes(':') === (family === 'IPv6');
}

/** A shared empty list where nothing is left: thousands of Services have no external addresses. */
function compact<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? NONE : list;
}

/** Whether this proxy handles the Service at all: not headless, not ExternalName, not another proxy's (KEP-2447). */
function isProxied(service: Service): boolean {
  return service.type !== 'ExternalName' && !service.isHeadless && service.serviceProxyName === '';
}

/** The ports that a Service asks for in one family; none without a clusterIP of that family. */
export function servicePortsOf(service: Service, family: IPFamily): readonly ServicePort[] {
  const ofFamily = isOfFamily(family);
  const clusterIP = service.clusterIPs.find(ofFamily);
  if (clusterIP === undefined || !isProxied(service)) return NONE;
  const externalIPs = compact(service.externalIPs.filter(ofFamily));
  const vips = service.loadBalancerIngress.filter(ingress => ingress.ipMode === 'VIP').map(ingress => ingress.ip);
  const loadBalancerVIPs = compact(vips.filter(ofFamily));
  const loadBalancerSourceRanges = compact(service.loadBalancerSourceRanges.filter(ofFamily));
  return service.ports.map(port => ({
    name: { namespace: service.namespace, name: service.name, port: port.name, protocol: port.protocol },
    clusterIP,
    port: port.port,
    nodePort: port.nodePort,
    externalIPs,
    loadBalancerVIPs,
    loadBalancerSourceRanges,
    affinityTimeoutSeconds: service.affinityTimeoutSeconds,
    isInternalLocal: service.internalTrafficPolicy === 'Local',
    isExternalLocal: service.externalTrafficPolicy === 'Local',
    healthCheckNodePort: service.healthCheckNodePort,
    creationTimestamp: service.creationTimestamp,
  }));
}

/** Whether clients outside the cluster can address it. */
export function isExternallyAccessible(port: ServicePort): boolean {
  return port.nodePort !== 0 || port.externalIPs.length > 0 || port.loadBalancerVIPs.length > 0;
}
