/** Links of pods: made, looked at and removed by a worker thread of its own, which enters the pods' namespaces. */
import { setTimeout as delay } from 'node:timers/promises';
import { type Libc, loadLibc } from '../../linux/libc.ts';
import { NetnsDoor, openNetns, readNetSysctl, writeNetSysctl } from '../../linux/netns.ts';
import { RouteSocket } from '../../linux/route-socket.ts';
import { attach, rejoin } from './attach.ts';
import { ensureBridge, type FixedBridges } from './bridge.ts';
import { check } from './check.ts';
import { type LinkOwner, linksToRemove, type OwnLink, ownLinks } from './detach.ts';
import { dropGateways } from './gateways.ts';
import { addressesOf, findLink } from './links.ts';
import { notYetOwn } from './pod-side.ts';
import { type PodState, podOf, removeInside } from './pod-state.ts';
import { asCniError, type PodNamespace, type WiringPorts } from './ports.ts';
import { Removals } from './removals.ts';
import type { Attached, BridgeSpec, LinkSpec } from './specs.ts';
import { type Fault, faults } from './standing.ts';

/** A kernel that takes longer than this does it all the same, later. */
const SETTLE_MS = 1000;
const LOOK_MS = 2;

export interface Wiring extends Disposable {
  /** Of the namespace that this works in, `device:inode`. */
  readonly identity: string;
  /** The identity of a namespace. @throws an error of the file system */
  identityOf(path: string): string;
  /** @throws CniError, when nothing of the attachment is left */
  attach(spec: LinkSpec): Attached;
  /** Resolves when the links are out of the namespace. @throws CniError */
  detach(owner: LinkOwner): Promise<void>;
  /** What is wrong, as sentences. @throws CniError when the kernel can't be asked */
  check(spec: LinkSpec): readonly string[];
  listOwn(): readonly OwnLink[];
  /** Addresses with prefix lengths of an interface in a pod's namespace, without those of the link itself (fe80::). @throws CniError */
  podAddresses(netns: string, ifname: string): readonly string[];
  /** Takes gateways of the node's ranges off, but those that are `kept` (with prefix lengths); which they were. @throws CniError */
  dropGateways(kept: ReadonlySet<string>): readonly string[];
  /** What isn't as it was made of bridges and their ports; costs the same however many there are. @throws CniError */
  faults(specs: readonly LinkSpec[]): readonly Fault[];
  nameOf(index: number): string | undefined;
  /** What the pod's end of a host link has, if it is in this namespace and has that name. @throws CniError */
  podOf(netns: string, link: { readonly hostLink: string; readonly ifname: string }): PodState | undefined;
  /** Makes the bridge of an attachment if it is missing, and has the host's end be its port again. One that is gone stays so. @throws CniError */
  rejoin(spec: LinkSpec): void;
  /** Resolves when the kernel takes packets for these addresses of a pod, or has had time enough to. @throws CniError */
  settle(netns: string, ips: readonly string[]): Promise<void>;
  /** Removes a pair by a pod's end of it, which another plugin made; there need be nothing. @throws CniError */
  removeInside(netns: string, ifname: string): void;
  /** @throws CniError */
  ensureBridge(spec: BridgeSpec): { readonly name: string; readonly mac: string; readonly index: number };
}

/** For a worker thread: the namespace that it is in is the pods' host. */
export async function createWiring(): Promise<Wiring> {
  const libc = await loadLibc();
  return wiringOver(systemPorts(libc), new Removals(libc));
}

export interface PortsToClose extends WiringPorts {
  close(): void;
}

export function systemPorts(libc: Libc): PortsToClose {
  const door = new NetnsDoor(libc);
  const route = new RouteSocket(libc);
  const sysctls = { read: readNetSysctl, write: writeNetSysctl };
  return {
    route,
    sysctls,
    home: door.home,
    openPod: path => openPod(libc, door, path),
    close: () => {
      route.close();
      door[Symbol.dispose]();
    },
  };
}

function openPod(libc: Libc, door: NetnsDoor, path: string): PodNamespace {
  const netns = openNetns(path);
  try {
    const route = door.within(netns, () => new RouteSocket(libc));
    return {
      fd: netns.fd,
      identity: netns.identity,
      route,
      within: work => door.within(netns, () => work({ read: readNetSysctl, write: writeNetSysctl })),
      [Symbol.dispose]: () => {
        route.close();
        netns[Symbol.dispose]();
      },
    };
  } catch (error) {
    netns[Symbol.dispose]();
    throw error;
  }
}

export function wiringOver(ports: PortsToClose, removals: Pick<Removals, 'remove'>): Wiring {
  const fixed: FixedBridges = new Set();
  const told = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw asCniError(error);
    }
  };
  return {
    identity: ports.home.identity,
    identityOf: path => {
      using netns = openNetns(path);
      return netns.identity;
    },
    attach: spec => attach(ports, spec, fixed),
    detach: async owner => {
      const indexes = told(() => linksToRemove(ports.route, owner));
      try {
        await removals.remove(indexes);
      } catch (error) {
        throw asCniError(error);
      }
    },
    check: spec => told(() => check(ports, spec)),
    listOwn: () => told(() => ownLinks(ports.route)),
    podAddresses: (netns, ifname) => told(() => podAddresses(ports, netns, ifname)),
    dropGateways: kept => told(() => dropGateways(ports.route, kept)),
    faults: specs => told(() => faults(ports, specs)),
    nameOf: index => told(() => findLink(ports.route, index)?.name),
    podOf: (netns, link) => told(() => podOf(ports, netns, link)),
    removeInside: (netns, ifname) => told(() => removeInside(ports, netns, ifname)),
    settle: (netns, ips) => settle(ports, netns, ips),
    rejoin: spec => told(() => rejoin(ports, spec, fixed)),
    ensureBridge: spec => told(() => ensureBridge(ports, spec, fixed)),
    [Symbol.dispose]: () => ports.close(),
  };
}

async function settle(ports: WiringPorts, netns: string, ips: readonly string[]): Promise<void> {
  const end = performance.now() + SETTLE_MS;
  const rest = (): readonly string[] => {
    using pod = ports.openPod(netns);
    return notYetOwn(pod, ips);
  };
  try {
    for (let left = ips; left.length > 0 && performance.now() < end; left = rest()) await delay(LOOK_MS);
  } catch (error) {
    throw asCniError(error);
  }
}

function podAddresses(ports: WiringPorts, netns: string, ifname: string): readonly string[] {
  using pod = ports.openPod(netns);
  const link = findLink(pod.route, ifname);
  if (link === undefined) return [];
  const all = addressesOf(pod.route, link.index).map(({ ip, length }) => `${ip}/${length}`);
  return all.filter(address => !/^fe[89ab]/.test(address));
}
