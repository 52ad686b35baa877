/** Gateways of the node's ranges: marked in the kernel, where the mark outlives agents and their files; kernels before 5.18 keep none. */
import type { RouteKernel } from '../../linux/route-socket.ts';
import { deleteAddress, dumpAddresses, newAddress, readAddress } from '../../rtnetlink/addresses.ts';
import type { RouteRequest } from '../../rtnetlink/encoding.ts';
import type { BridgeSpec } from './specs.ts';

/** IFA_PROTO of an address, 'k': `ip address` shows it as proto 0x6b. The kernel's own are 1 to 3. */
const MARK = 0x6b;

/** @param address with prefix length */
export function newGateway(
  index: number,
  address: string,
  spec: Pick<BridgeSpec, 'isOfNode'> | undefined,
): RouteRequest {
  return newAddress(index, address, spec?.isOfNode === true ? { protocol: MARK } : {});
}

/** Takes those off that are not among `kept`, with prefix lengths; which they were. Addresses without the mark stay. @throws NetlinkError */
export function dropGateways(route: RouteKernel, kept: ReadonlySet<string>): readonly string[] {
  const dropped: string[] = [];
  for (const found of route.dump(dumpAddresses(0)).map(readAddress)) {
    if (found?.protocol !== MARK) continue;
    const address = `${found.ip}/${found.length}`;
    if (kept.has(address)) continue;
    route.send([deleteAddress(found.index, address)]);
    dropped.push(address);
  }
  return dropped;
}
