/** Gives a pod its interface: everything of a specification, or nothing. */
import { refreshNeighbour } from '../../rtnetlink/addresses.ts';
import { changeLink, deleteLink, IFF, type Link, newVeth } from '../../rtnetlink/links.ts';
import { CniError, CODE, LEAST_IPV6_MTU } from '../types.ts';
import { limitBandwidth } from './bandwidth.ts';
import { ensureBridge, type FixedBridges, forwardingSwitches, hasIPv6 } from './bridge.ts';
import { findLink } from './links.ts';
import { macFor, macOfText, shaperOf } from './names.ts';
import { configurePod, notYetOwn } from './pod-side.ts';
import { asCniError, EEXIST, isErrno, type PodNamespace, type WiringPorts } from './ports.ts';
import { routesFor } from './routes.ts';
import type { Attached, BridgeSpec, LinkSpec } from './specs.ts';
import { ensureVlanGateway, joinVlans } from './vlan.ts';

/**
 * @throws CniError: netnsIsHosts, badEnvironment (no such namespace), bridgeConflict, exists (the pod has an interface of that name), kernel. Then nothing of
 * the attachment is left; the bridge may be.
 */
export function attach(ports: WiringPorts, spec: LinkSpec, fixed: FixedBridges): Attached {
  using pod = openPod(ports, spec.netns);
  if (pod.identity === ports.home.identity)
    throw new CniError(CODE.netnsIsHosts, `CNI_NETNS ${spec.netns} is the host's network namespace`);
  try {
    if (findLink(ports.route, spec.hostLink) !== undefined) throw alreadyThere(spec);
    const bridge = spec.bridge && ensureBridge(ports, bridgeOf(spec, spec.bridge), fixed);
    forward(ports, spec);
    const mac =
      spec.mac ??
      macFor(
        spec.addresses.map(({ address }) => address),
        `${spec.hostLink} pod`,
      );
    makePair(ports, spec, { mac, master: bridge?.index, netnsFd: pod.fd });
    return rolledBack(ports, spec, () => finish(ports, pod, spec, bridge));
  } catch (error) {
    throw asCniError(error);
  }
}

function openPod(ports: WiringPorts, path: string): PodNamespace {
  try {
    return ports.openPod(path);
  } catch (error) {
    const { message } = asCniError(error);
    throw new CniError(CODE.badEnvironment, `CNI_NETNS ${path} is no network namespace: ${message}`);
  }
}

function alreadyThere({ ifname, hostLink }: LinkSpec): CniError {
  return new CniError(CODE.exists, `container veth name ("${ifname}") peer provided (${hostLink}) already exists`);
}

/** VLANs need the bridge to look at them; one that is made is as large as its pods' links. */
function bridgeOf({ vlan, vlanTrunk = [], mtu }: LinkSpec, bridge: BridgeSpec): BridgeSpec {
  const hasVlans = (vlan ?? 0) !== 0 || vlanTrunk.length > 0;
  const size = bridge.mtu ?? mtu;
  return { ...bridge, vlanFiltering: bridge.vlanFiltering || hasVlans, ...(size === undefined ? {} : { mtu: size }) };
}

/** A node that is its pods' gateway forwards. */
function forward({ sysctls }: WiringPorts, { bridge }: LinkSpec): void {
  for (const name of forwardingSwitches(bridge?.gateways ?? []))
    if (sysctls.read(name) !== '1') sysctls.write(name, '1');
}

interface Pair {
  readonly mac: string;
  readonly master: number | undefined;
  readonly netnsFd: number;
}

/** The kernel makes both ends or none; the alias follows within the same system call, so that no process ends between. */
function makePair({ route, sysctls }: WiringPorts, spec: LinkSpec, { mac, master, netnsFd }: Pair): void {
  const { hostLink: name, ifname, mtu, alias, hairpin, isolated } = spec;
  const peer = { name: ifname, mac, netnsFd };
  const isWithoutIPv6 = hasIPv6(sysctls) && (mtu ?? LEAST_IPV6_MTU) >= LEAST_IPV6_MTU;
  const port = master === undefined ? {} : { port: { hairpin, isolated }, isWithoutIPv6 };
  try {
    route.send([newVeth({ name, mac: macOfText(name), mtu, master, peer }), changeLink(name, { alias, ...port })]);
  } catch (error) {
    if (isErrno(error, EEXIST)) throw alreadyThere(spec);
    removeAll({ route }, spec);
    throw error;
  }
}

/** @throws what `work` throws, when nothing of the attachment is left any more */
function rolledBack<T>(ports: WiringPorts, spec: LinkSpec, work: () => T): T {
  try {
    return work();
  } catch (error) {
    removeAll(ports, spec);
    throw error;
  }
}

/** With the host's end the pod's goes, and all that was on either. */
function removeAll({ route }: Pick<WiringPorts, 'route'>, { hostLink, bandwidth }: LinkSpec): void {
  const shaper = (bandwidth?.egressRate ?? 0) > 0 ? [deleteLink(shaperOf(hostLink))] : [];
  try {
    route.send([deleteLink(hostLink), ...shaper]);
  } catch (error) {
    throw new CniError(CODE.kernel, `can't take back ${hostLink}: ${error instanceof Error ? error.message : error}`);
  }
}

function finish(ports: WiringPorts, pod: PodNamespace, spec: LinkSpec, bridge: Link | undefined): Attached {
  const { route } = ports;
  const made = mustFind(findLink(route, spec.hostLink), spec.hostLink);
  if (bridge !== undefined) joinVlans(route, made.index, spec);
  const gateway = bridge && ensureVlanGateway(ports, spec, bridge);
  if (spec.bandwidth !== undefined)
    limitBandwidth(route, spec.bandwidth, {
      hostLink: spec.hostLink,
      alias: spec.alias,
      index: made.index,
      mtu: made.mtu,
    });
  route.send([changeLink(made.index, { set: IFF.up })]);
  const routes = routesFor(spec);
  const podLink = configurePod(pod, spec, routes);
  const host = mustFind(findLink(route, made.index), spec.hostLink);
  const unsettled = notYetOwn(
    pod,
    spec.addresses.map(({ address }) => address.replace(/\/.*/, '')),
  );
  if (bridge !== undefined) forget(ports, spec, { link: gateway ?? bridge, mac: podLink.mac });
  const described = (link: Link) => ({ name: link.name, mac: link.mac, mtu: link.mtu });
  const interfaces = [
    ...(bridge === undefined ? [] : [described(bridge)]),
    described(host),
    { ...described(podLink), sandbox: spec.netns },
    ...(gateway === undefined ? [] : [described(gateway)]),
  ];
  const bridgeMac = bridge === undefined ? {} : { bridgeMac: bridge.mac };
  const podInterface = bridge === undefined ? 1 : 2;
  return { interfaces, podInterface, ...bridgeMac, mac: podLink.mac, hostIndex: host.index, routes, unsettled };
}

function mustFind(link: Link | undefined, name: string): Link {
  if (link === undefined) throw new CniError(CODE.kernel, `${name} was removed while it was made`);
  return link;
}

/** @throws NetlinkError, CniError */
export function rejoin(ports: WiringPorts, spec: LinkSpec, fixed: FixedBridges): void {
  const host = findLink(ports.route, spec.hostLink);
  if (spec.bridge === undefined || host === undefined || host.alias !== spec.alias) return;
  const bridge = ensureBridge(ports, bridgeOf(spec, spec.bridge), fixed);
  forward(ports, spec);
  const { hairpin, isolated } = spec;
  const requests = [
    changeLink(host.index, { master: bridge.index }),
    changeLink(host.index, { port: { hairpin, isolated } }),
  ];
  ports.route.send([...requests, changeLink(host.index, { set: IFF.up })]);
  joinVlans(ports.route, host.index, spec);
  ensureVlanGateway(ports, spec, bridge);
}

/** The host may remember who had these addresses before. */
function forget({ route }: WiringPorts, spec: LinkSpec, { link, mac }: { link: Link; mac: string }): void {
  if (spec.bridge?.gateways.length === 0 || spec.addresses.length === 0) return;
  const ips = spec.addresses.map(({ address }) => address.replace(/\/.*/, ''));
  route.send(ips.map(ip => refreshNeighbour(link.index, ip, mac)));
}
