/** What is set inside a pod's namespace. */
import { isLocalRoute, lookUpRoute, newAddress, newRoute } from '../../rtnetlink/addresses.ts';
import { changeLink, IFF, type Link } from '../../rtnetlink/links.ts';
import { CniError, type CniRoute, CODE } from '../types.ts';
import { hasIPv6 } from './bridge.ts';
import { addressesOf, findLink } from './links.ts';
import type { PodNamespace, Sysctls } from './ports.ts';
import { kernelRoute } from './routes.ts';
import type { LinkSpec } from './specs.ts';

const DAD_MS = 5000;
const DAD_STEP_MS = 20;
const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));
const pause = (ms: number) => void Atomics.wait(nobodyWakes, 0, 0, ms);

/** The pod's end as it is then. @throws NetlinkError and CniError */
export function configurePod(pod: PodNamespace, spec: LinkSpec, routes: readonly CniRoute[]): Link {
  const { route } = pod;
  const { ifname, addresses, dad } = spec;
  pod.within(sysctls => setSysctls(sysctls, spec));
  const link = () => {
    const found = findLink(route, ifname);
    if (found === undefined) throw new CniError(CODE.kernel, `${ifname} was removed from the pod while it was made`);
    return found;
  };
  const { index } = link();
  if (!spec.up) return link();
  route.send([
    ...addresses.map(({ address }) => newAddress(index, address, { dad })),
    changeLink(index, { set: IFF.up }),
  ]);
  // Asking makes the kernel see the carrier, without which IPv6 stays off.
  const up = link();
  route.send(routes.map(each => newRoute(index, kernelRoute(each, addresses))));
  if (dad) waitForAddresses(pod, index);
  return up;
}

/**
 * IPv6 addresses that aren't the namespace's own yet: the kernel makes them so in a work queue (addrconf_dad_work of net/ipv6/addrconf.c), which a busy machine gets to some milliseconds
 * after the request has been answered. A packet that comes before is lost, and TCP's next one comes a second later. @throws NetlinkError
 */
export function notYetOwn({ route }: PodNamespace, ips: readonly string[]): readonly string[] {
  return ips.filter(ip => ip.includes(':') && !route.send([lookUpRoute(ip)]).some(isLocalRoute));
}

function setSysctls(sysctls: Sysctls, { ifname, addresses, dad }: LinkSpec): void {
  const wantsIPv6 = addresses.some(({ address }) => address.includes(':'));
  if (hasIPv6(sysctls, ifname)) {
    const ipv6 = `ipv6/conf/${ifname}`;
    if (wantsIPv6) {
      sysctls.write(`${ipv6}/disable_ipv6`, '0');
      sysctls.write(`${ipv6}/keep_addr_on_down`, '1');
    }
    if (!dad) sysctls.write(`${ipv6}/accept_dad`, '0');
  } else if (wantsIPv6) {
    throw new CniError(CODE.kernel, `${ifname} has no IPv6 in this kernel, and the pod has an IPv6 address`);
  }
  if (addresses.some(({ address }) => !address.includes(':'))) sysctls.write(`ipv4/conf/${ifname}/arp_notify`, '1');
}

/** Until the kernel knows that nobody else has them, as the configuration asks for. @throws CniError when somebody has, or it takes too long */
function waitForAddresses(pod: PodNamespace, index: number): void {
  const end = performance.now() + DAD_MS;
  for (;;) {
    const waiting = addressesOf(pod.route, index).filter(({ isTentative }) => isTentative);
    if (waiting.length === 0) return;
    if (performance.now() > end)
      throw new CniError(CODE.kernel, `${waiting.map(({ ip }) => ip).join(', ')}: still looked for at others`);
    pause(DAD_STEP_MS);
  }
}
