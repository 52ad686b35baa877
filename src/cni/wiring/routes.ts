/** Which routes a pod has. Pure. */
import { cidrContains, parseCIDR } from '../../net/cidr.ts';
import type { RouteSpec } from '../../rtnetlink/addresses.ts';
import type { CniRoute } from '../types.ts';
import type { LinkSpec, PodAddress } from './specs.ts';

const DEFAULTS = ['0.0.0.0/0', '::/0'] as const;
const familyOf = (text: string) => (text.includes(':') ? 'IPv6' : 'IPv4');

/** Those of the specification with the gateway of their family where they name none, and the default routes. */
export function routesFor({ routes, addresses, isDefaultGateway }: LinkSpec): readonly CniRoute[] {
  const gatewayOf = (dst: string) =>
    addresses.find(({ address, gateway }) => gateway !== undefined && familyOf(address) === familyOf(dst))?.gateway;
  const filled = routes.map(route => {
    const gw = route.gw ?? (isLocal(route) ? undefined : gatewayOf(route.dst));
    return gw === undefined ? route : { ...route, gw };
  });
  if (!isDefaultGateway) return filled;
  const isThere = (dst: string) => filled.some(route => route.dst === dst && (route.table ?? MAIN) === MAIN);
  const defaults = DEFAULTS.filter(dst => !isThere(dst)).flatMap(dst => {
    const gw = gatewayOf(dst);
    return gw === undefined ? [] : [{ dst, gw }];
  });
  return [...filled, ...defaults];
}

/** RT_TABLE_MAIN, RT_SCOPE_LINK */
const [MAIN, LINK] = [254, 253];

/** Of a scope in which there are no gateways. */
const isLocal = ({ scope }: CniRoute) => scope !== undefined && scope >= LINK;

/** For the kernel: the gateway of an address is said to be on the link where it is in no prefix of the pod's. Of others the kernel knows whether they can be reached. */
export function kernelRoute(route: CniRoute, addresses: readonly PodAddress[]): RouteSpec {
  const dst = parseCIDR(route.dst)?.text ?? route.dst;
  const { gw } = route;
  if (gw === undefined) return { ...route, dst };
  const isNear = addresses.some(({ address }) => {
    const range = parseCIDR(address);
    return range !== undefined && cidrContains(range, gw);
  });
  return { ...route, dst, isOnlink: !isNear && addresses.some(({ gateway }) => gateway === gw) };
}
