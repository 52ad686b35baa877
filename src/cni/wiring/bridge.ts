/** The bridge that pods of a network are on. It is made once, with an address that its ports never change, and outlives them. */

import { cidrsOverlap, parseCIDR } from '../../net/cidr.ts';
import type { Address } from '../../rtnetlink/addresses.ts';
import { deleteAddress } from '../../rtnetlink/addresses.ts';
import { changeLink, IFF, type Link, newBridge, setVlanFiltering } from '../../rtnetlink/links.ts';
import { CniError, CODE } from '../types.ts';
import { newGateway } from './gateways.ts';
import { addressesOf, findLink } from './links.ts';
import { macFor } from './names.ts';
import { EEXIST, isErrno, type Sysctls, type WiringPorts } from './ports.ts';
import type { BridgeSpec } from './specs.ts';

const NO_MAC = '00:00:00:00:00:00';

/** Bridges whose address is fixed, by index and address: so that others' are made so once. */
export type FixedBridges = Set<string>;

/**
 * Makes what is missing of the bridge. @throws CniError bridgeConflict when the name is another kind of link's, or an address is in the way; then nothing
 * of it was changed. @throws NetlinkError
 */
export function ensureBridge(ports: WiringPorts, spec: BridgeSpec, fixed: FixedBridges): Link {
  const found = findBridge(ports, spec);
  if (found === undefined) return makeBridge(ports, spec, fixed);
  const gateways = spec.vlanFiltering ? [] : spec.gateways;
  const plan = planAddresses(addressesOf(ports.route, found.index), gateways, spec);
  const requests = [];
  if (!fixed.has(keyOf(found))) {
    const mac = found.mac === NO_MAC ? macFor(spec.gateways, spec.name) : found.mac;
    requests.push(changeLink(found.index, { mac }));
  }
  if (spec.vlanFiltering) requests.push(setVlanFiltering(found.index));
  const set = IFF.up | (spec.promisc ? IFF.promisc : 0);
  const isSet = found.isUp && (found.isPromiscuous || !spec.promisc);
  if (!isSet) requests.push(changeLink(found.index, { set }));
  for (const address of plan.inTheWay) requests.push(deleteAddress(found.index, address));
  for (const address of plan.missing) requests.push(newGateway(found.index, address, spec));
  if (requests.length === 0) return found;
  ports.route.send(requests);
  const bridge = findBridge(ports, spec) ?? found;
  fixed.add(keyOf(bridge));
  return bridge;
}

const keyOf = ({ index, mac }: Link) => `${index} ${mac}`;

function findBridge({ route }: WiringPorts, { name }: BridgeSpec): Link | undefined {
  const found = findLink(route, name);
  if (found === undefined || found.kind === 'bridge') return found;
  throw new CniError(CODE.bridgeConflict, `"${name}" exists and is no bridge${found.kind && `, but a ${found.kind}`}`);
}

function makeBridge(ports: WiringPorts, spec: BridgeSpec, fixed: FixedBridges): Link {
  const { name, mtu } = spec;
  const mac = macFor(spec.gateways, name);
  try {
    ports.route.send([newBridge({ name, mac, mtu })]);
  } catch (error) {
    // Somebody else was faster.
    if (isErrno(error, EEXIST)) return ensureBridge(ports, spec, fixed);
    throw error;
  }
  // Its own addresses are usable from the first pod on.
  if (hasIPv6(ports.sysctls, name)) ports.sysctls.write(`ipv6/conf/${name}/accept_dad`, '0');
  const gateways = spec.vlanFiltering ? [] : spec.gateways;
  const vlan = spec.vlanFiltering ? [setVlanFiltering(name)] : [];
  const set = IFF.up | (spec.promisc ? IFF.promisc : 0);
  const bridge = findBridge(ports, spec);
  if (bridge === undefined) throw new CniError(CODE.kernel, `the bridge ${name} was removed while it was made`);
  ports.route.send([
    ...vlan,
    changeLink(bridge.index, { set }),
    ...gateways.map(address => newGateway(bridge.index, address, spec)),
  ]);
  fixed.add(keyOf(bridge));
  return { ...bridge, isUp: true, isPromiscuous: spec.promisc };
}

/** Whether this namespace has IPv6, on a link: those of less than 1280 bytes have none (addrconf_notify of net/ipv6/addrconf.c). */
export function hasIPv6(sysctls: Sysctls, link = 'all'): boolean {
  try {
    sysctls.read(`ipv6/conf/${link}/disable_ipv6`);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** What a node has on that is the gateway at these addresses, below /proc/sys/net. */
export function forwardingSwitches(gateways: readonly string[]): readonly string[] {
  return [
    ...(gateways.some(gateway => !gateway.includes(':')) ? ['ipv4/ip_forward'] : []),
    ...(gateways.some(gateway => gateway.includes(':')) ? ['ipv6/conf/all/forwarding'] : []),
  ];
}

interface AddressPlan {
  readonly missing: readonly string[];
  readonly inTheWay: readonly string[];
}

/**
 * Which addresses a link lacks, and which go for that: of IPv4 every other one, of IPv6 those of overlapping ranges, as the reference plugin has it.
 * @throws CniError bridgeConflict when one is in the way and may not go
 */
export function planAddresses(
  present: readonly Address[],
  gateways: readonly string[],
  { name, forceAddress, keepsOthers = false }: Pick<BridgeSpec, 'name' | 'forceAddress' | 'keepsOthers'>,
): AddressPlan {
  const there = present.map(({ ip, length }) => `${ip}/${length}`);
  const missing = gateways.filter(gateway => !there.includes(gateway));
  const others = there.filter(address => !gateways.includes(address));
  const mustGo = (address: string) => !keepsOthers && missing.some(gateway => isInTheWay(address, gateway));
  const inTheWay = others.filter(mustGo);
  if (inTheWay.length > 0 && !forceAddress) {
    const which = inTheWay.join(', ');
    throw new CniError(
      CODE.bridgeConflict,
      `"${name}" already has the address ${which}, other than ${missing.join(', ')}`,
    );
  }
  return { missing, inTheWay };
}

/** Whether a link can't have both, each with its prefix length, as the reference plugin has it. */
export function isInTheWay(address: string, gateway: string): boolean {
  const [one, other] = [parseCIDR(address), parseCIDR(gateway)];
  if (one === undefined || other === undefined || one.family !== other.family) return false;
  return one.family === 'IPv4' || cidrsOverlap(one, other);
}
