/** What a pod's end of a link has now. */
import { deleteLink } from '../../rtnetlink/links.ts';
import { addressesOf, findLink, namespaceNumber, routesOf } from './links.ts';
import { isErrno, type WiringPorts } from './ports.ts';
import type { PodAddress } from './specs.ts';

export interface PodState {
  readonly mac: string;
  readonly addresses: readonly PodAddress[];
  readonly isDefaultGateway: boolean;
}

const EINVAL = 22;
const DEFAULTS: ReadonlySet<string> = new Set(['0.0.0.0/0', '::/0']);

/** undefined when the link of that name isn't the other end, or there is no such namespace. @throws CniError, NetlinkError */
export function podOf(
  ports: WiringPorts,
  netns: string,
  { hostLink, ifname }: { readonly hostLink: string; readonly ifname: string },
): PodState | undefined {
  const host = findLink(ports.route, hostLink);
  if (host === undefined) return undefined;
  using pod = openIfThere(ports, netns);
  // Indexes alone are no evidence: every namespace counts from 1.
  if (pod === undefined || namespaceNumber(ports.route, pod.fd) !== host.peerNamespace) return undefined;
  const link = findLink(pod.route, ifname);
  if (link === undefined || host.peer !== link.index) return undefined;
  const routes = routesOf(pod.route, link.index).filter(({ dst }) => DEFAULTS.has(dst));
  const gatewayFor = (ip: string) => routes.find(({ gw }) => gw?.includes(':') === ip.includes(':'))?.gw;
  const own = addressesOf(pod.route, link.index).filter(({ ip }) => !/^fe[89ab]/.test(ip));
  const addresses = own.map(({ ip, length }) => {
    const gateway = gatewayFor(ip);
    return { address: `${ip}/${length}`, ...(gateway === undefined ? {} : { gateway }) };
  });
  return { mac: link.mac, addresses, isDefaultGateway: routes.length > 0 };
}

/** @throws NetlinkError */
export function removeInside(ports: WiringPorts, netns: string, ifname: string): void {
  using pod = openIfThere(ports, netns);
  if (pod === undefined || pod.identity === ports.home.identity) return;
  const link = findLink(pod.route, ifname);
  if (link?.kind === 'veth') pod.route.send([deleteLink(link.index)]);
}

function openIfThere(ports: WiringPorts, netns: string) {
  try {
    return ports.openPod(netns);
  } catch (error) {
    if (isErrno(error, EINVAL) || (error instanceof Error && 'code' in error && error.code === 'ENOENT'))
      return undefined;
    throw error;
  }
}
