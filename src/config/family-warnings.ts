import { ipFamily } from '../net/ip.ts';
import type { IPFamily } from '../watch/objects.ts';
import type { KubeProxyFields } from './kube-proxy-fields.ts';

/**
 * Lines about lists of CIDRs that miss an IP family which other fields show to be in use, as kube-proxy's checkBadConfig and
 * checkBadIPConfig say them (cmd/kube-proxy/app/server.go). `nameOf` names a field for people.
 */
export function familyWarnings(fields: KubeProxyFields, nameOf: (path: string) => string): string[] {
  const detectsByCIDR = fields.detectLocalMode === '' || fields.detectLocalMode === 'ClusterCIDR';
  const pods = familiesOf(detectsByCIDR ? fields.clusterCIDR : []);
  const nodePorts = familiesOf(fields.nodePortAddresses.filter(entry => entry !== 'primary'));
  const preferred = ipFamily(fields.bindAddress);
  const isDualStack = [pods, nodePorts, familiesOf(fields.ipvs.excludeCIDRs)].some(({ size }) => size === 2);
  const inUse: readonly IPFamily[] = isDualStack ? ['IPv4', 'IPv6'] : [preferred];
  const missing = (families: ReadonlySet<IPFamily>) =>
    families.size === 0 ? [] : inUse.filter(family => !families.has(family));
  return [
    ...missing(pods).map(
      family =>
        `${nameOf('clusterCIDR')} has no ${family} range: ${family} traffic from pods is not told from traffic from outside the cluster`,
    ),
    ...missing(nodePorts).map(
      family =>
        `${nameOf('nodePortAddresses')} has no ${family} range: NodePorts are open on every local ${family} address`,
    ),
  ];
}

function familiesOf(cidrs: readonly string[]): ReadonlySet<IPFamily> {
  return new Set(cidrs.map(ipFamily));
}
