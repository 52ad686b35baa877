/** VLANs of a bridge: which a port is in, and the gateway's link into one. */
import type { RouteKernel } from '../../linux/route-socket.ts';
import { deleteAddress } from '../../rtnetlink/addresses.ts';
import { changeLink, changeVlans, deleteLink, IFF, type Link, newVeth, type VlanRange } from '../../rtnetlink/links.ts';
import { planAddresses } from './bridge.ts';
import { newGateway } from './gateways.ts';
import { addressesOf, findLink } from './links.ts';
import { macFor, macOfText } from './names.ts';
import { EEXIST, isErrno, type WiringPorts } from './ports.ts';
import type { LinkSpec, VlanTrunk } from './specs.ts';

const DEFAULT_VLAN: VlanRange = { from: 1, to: 1, isAccess: false };
const LAST_VLAN = 4094;

const access = (id: number): VlanRange => ({ from: id, to: id, isAccess: true });

/** @throws NetlinkError, EOPNOTSUPP where the kernel's bridges know no VLANs */
export function joinVlans(route: RouteKernel, index: number, spec: LinkSpec): void {
  const { vlan = 0, vlanTrunk = [], preserveDefaultVlan } = spec;
  if (vlan === 0 && vlanTrunk.length === 0) return;
  const isLeaving = !preserveDefaultVlan && vlan !== DEFAULT_VLAN.from;
  route.send([
    ...(isLeaving ? [changeVlans(index, DEFAULT_VLAN, { isRemoval: true })] : []),
    ...(vlan === 0 ? [] : [changeVlans(index, access(vlan))]),
    ...vlanTrunk.flatMap(rangesOf).map(range => changeVlans(index, range)),
  ]);
}

/** `{id: 101}`, `{minID: 200, maxID: 210}`, or both. */
export function rangesOf({ id, minID, maxID }: VlanTrunk): readonly VlanRange[] {
  const single = id === undefined ? [] : [{ from: id, to: id, isAccess: false }];
  const range =
    minID === undefined && maxID === undefined ? [] : [{ from: minID ?? 1, to: maxID ?? LAST_VLAN, isAccess: false }];
  return [...single, ...range];
}

/**
 * `<bridge>.<vlan>`: one end of a pair, as the reference plugin has it, whose other end is a port of the bridge in that VLAN. undefined without a VLAN or
 * a gateway. @throws NetlinkError, CniError bridgeConflict
 */
export function ensureVlanGateway({ route }: WiringPorts, spec: LinkSpec, bridge: Link): Link | undefined {
  const { vlan = 0, preserveDefaultVlan } = spec;
  const gateways = spec.bridge?.gateways ?? [];
  if (vlan === 0 || gateways.length === 0) return undefined;
  const name = `${bridge.name}.${vlan}`;
  if (findLink(route, name) === undefined) makeGateway(route, { name, vlan, preserveDefaultVlan, gateways, bridge });
  const link = findLink(route, name);
  if (link === undefined) return undefined;
  const { forceAddress = false, keepsOthers = false } = spec.bridge ?? {};
  const { missing, inTheWay } = planAddresses(addressesOf(route, link.index), gateways, {
    ...{ name, forceAddress, keepsOthers },
  });
  const changes = [
    ...inTheWay.map(address => deleteAddress(link.index, address)),
    ...missing.map(address => newGateway(link.index, address, spec.bridge)),
  ];
  if (changes.length > 0) route.send(changes);
  return link;
}

interface Gateway {
  readonly name: string;
  readonly vlan: number;
  readonly preserveDefaultVlan: boolean;
  readonly gateways: readonly string[];
  readonly bridge: Link;
}

function makeGateway(route: RouteKernel, { name, vlan, preserveDefaultVlan, gateways, bridge }: Gateway): void {
  const port = `vlan${macOfText(name).replaceAll(':', '').slice(2)}`;
  const { mtu, index: master } = bridge;
  const peer = { name, mac: macFor(gateways, name) };
  try {
    route.send([newVeth({ name: port, mac: macOfText(port), mtu, master, peer })]);
  } catch (error) {
    if (isErrno(error, EEXIST)) return;
    throw error;
  }
  try {
    const made = findLink(route, port);
    if (made === undefined) return;
    route.send([
      ...(preserveDefaultVlan ? [] : [changeVlans(made.index, DEFAULT_VLAN, { isRemoval: true })]),
      changeVlans(made.index, access(vlan)),
      changeLink(made.index, { set: IFF.up }),
      changeLink(name, { set: IFF.up }),
    ]);
  } catch (error) {
    route.send([deleteLink(port)]);
    throw error;
  }
}
