import { cidrContains, parseCIDR } from '../net/cidr.ts';
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

/**
 * The ports that a Service asks for in one family; none without a clusterIP of that family. `allowedExternalIPs`: the CIDRs that spec.externalIPs
 * may be of, undefined = any.
 */
export function servicePortsOf(
  service: Service,
  family: IPFamily,
  allowedExternalIPs?: readonly string[],
): readonly ServicePort[] {
  const ofFamily = isOfFamily(family);
  const clusterIP = service.clusterIPs.find(ofFamily);
  if (clusterIP === undefined || !isProxied(service)) return NONE;
  const { affinityTimeoutSeconds, affinityScope, balancing, creationTimestamp } = service;
  const asked = service.externalIPs.filter(ofFamily);
  const externalIPs = compact(asked.filter(ip => isAllowed(ip, allowedExternalIPs)));
  const vips = service.loadBalancerIngress.filter(ingress => ingress.ipMode === 'VIP').map(ingress => ingress.ip);
  const loadBalancerVIPs = compact(vips.filter(ofFamily));
  const loadBalancerSourceRanges = compact(service.loadBalancerSourceRanges.filter(ofFamily));
  const nodePortSourceRanges = compact(service.nodePortSourceRanges.filter(ofFamily));
  const endpointWeights = compact(service.endpointWeights.filter(({ cidr }) => ofFamily(cidr)));
  const refused = asked.filter(ip => !externalIPs.includes(ip));
  const warnings = compact([
    ...openFamily({ service, family, loadBalancerVIPs, loadBalancerSourceRanges, nodePortSourceRanges }),
    ...refused.map(ip => `spec.externalIPs: ${ip} is in none of allowedExternalIPs, so it is left out`),
  ]);
  // core/v1: only such a Service has its health asked for; the API server refuses the field elsewhere.
  const hasHealthCheck = service.type === 'LoadBalancer' && service.externalTrafficPolicy === 'Local';
  return service.ports.map(port => ({
    name: { namespace: service.namespace, name: service.name, port: port.name, protocol: port.protocol },
    clusterIP,
    port: port.port,
    nodePort: port.nodePort,
    externalIPs,
    loadBalancerVIPs,
    loadBalancerSourceRanges,
    nodePortSourceRanges,
    warnings,
    affinityTimeoutSeconds,
    isAffinityShared: affinityScope === 'Service' && affinityTimeoutSeconds > 0,
    balancing,
    endpointWeights,
    isInternalLocal: service.internalTrafficPolicy === 'Local',
    isExternalLocal: service.externalTrafficPolicy === 'Local',
    healthCheckNodePort: hasHealthCheck ? service.healthCheckNodePort : 0,
    creationTimestamp,
  }));
}

function isAllowed(ip: string, cidrs: readonly string[] | undefined): boolean {
  if (cidrs === undefined) return true;
  return cidrs.some(text => {
    const cidr = parseCIDR(text);
    return cidr !== undefined && cidrContains(cidr, ip);
  });
}

/** An allow list without an entry of this family leaves the family open, as in kube-proxy: whoever wrote it may not expect that. */
function* openFamily(
  asked: { readonly service: Service; readonly family: IPFamily } & Pick<
    ServicePort,
    'loadBalancerVIPs' | 'loadBalancerSourceRanges' | 'nodePortSourceRanges'
  >,
): Iterable<string> {
  const { service, family } = asked;
  const isOpen = (all: readonly string[], own: readonly string[]) => all.length > 0 && own.length === 0;
  if (asked.loadBalancerVIPs.length > 0 && isOpen(service.loadBalancerSourceRanges, asked.loadBalancerSourceRanges)) {
    yield `spec.loadBalancerSourceRanges: no range is ${family}, so the ${family} load balancer addresses are open to everybody`;
  }
  const hasNodePort = service.ports.some(({ nodePort }) => nodePort !== 0);
  if (hasNodePort && isOpen(service.nodePortSourceRanges, asked.nodePortSourceRanges)) {
    yield `annotation kproxy-ts.dev/node-port-source-ranges: no range is ${family}, so the NodePorts are open to everybody over ${family}`;
  }
}

/** Whether clients outside the cluster can address it. */
export function isExternallyAccessible(port: ServicePort): boolean {
  return port.nodePort !== 0 || port.externalIPs.length > 0 || port.loadBalancerVIPs.length > 0;
}
