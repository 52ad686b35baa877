/** Whether a pod's interface is as it was made. What others added to it since is theirs: addresses, routes, queues, the host end's MAC. */

import { parseCIDR } from '../../net/cidr.ts';
import type { Link } from '../../rtnetlink/links.ts';
import { addressesOf, findLink, routesOf } from './links.ts';
import { asCniError, type PodNamespace, type WiringPorts } from './ports.ts';
import { routesFor } from './routes.ts';
import type { BridgeSpec, LinkSpec } from './specs.ts';

const MAIN = 254;

/** What is wrong, as sentences; nothing when all is well. Changes nothing. */
export function check(ports: WiringPorts, spec: LinkSpec): readonly string[] {
  const bridge = spec.bridge && findLink(ports.route, spec.bridge.name);
  const host = findLink(ports.route, spec.hostLink);
  return [
    ...(spec.bridge === undefined ? [] : bridgeProblems(ports, spec.bridge, { bridge, vlan: spec.vlan ?? 0 })),
    ...hostProblems(spec, host, bridge),
    ...podProblems(ports, spec, host),
  ];
}

function bridgeProblems(
  { route }: WiringPorts,
  { name, gateways }: BridgeSpec,
  { bridge, vlan }: { bridge: Link | undefined; vlan: number },
): readonly string[] {
  if (bridge === undefined) return [`the bridge ${name} is gone`];
  if (bridge.kind !== 'bridge') return [`${name} is no bridge`];
  const holder = vlan === 0 ? bridge : findLink(route, `${name}.${vlan}`);
  if (holder === undefined) return gateways.length === 0 ? [] : [`${name}.${vlan} is gone`];
  const there = addressesOf(route, holder.index).map(({ ip, length }) => `${ip}/${length}`);
  const missing = gateways.filter(gateway => !there.includes(gateway));
  return [
    ...(bridge.isUp ? [] : [`the bridge ${name} is down`]),
    ...missing.map(gateway => `${holder.name} lacks the gateway's address ${gateway}`),
  ];
}

function hostProblems(
  { hostLink, bridge: wanted }: LinkSpec,
  host: Link | undefined,
  bridge: Link | undefined,
): readonly string[] {
  if (host === undefined) return [`the host's end ${hostLink} is gone`];
  const isOff = wanted !== undefined && (bridge === undefined || host.master !== bridge.index);
  return [
    ...(host.isUp ? [] : [`the host's end ${hostLink} is down`]),
    ...(isOff ? [`the host's end ${hostLink} is not on the bridge ${wanted.name}`] : []),
  ];
}

function podProblems(ports: WiringPorts, spec: LinkSpec, host: Link | undefined): readonly string[] {
  let pod: PodNamespace;
  try {
    pod = ports.openPod(spec.netns);
  } catch (error) {
    return [`the pod's network namespace can't be entered: ${asCniError(error).message}`];
  }
  try {
    const link = findLink(pod.route, spec.ifname);
    return link === undefined ? [`${spec.ifname} is not in the pod`] : endProblems(pod, spec, { link, host });
  } finally {
    pod[Symbol.dispose]();
  }
}

function endProblems(
  { route }: PodNamespace,
  spec: LinkSpec,
  { link, host }: { link: Link; host: Link | undefined },
): readonly string[] {
  const { ifname, mac, up, addresses } = spec;
  const problems: string[] = [];
  if (link.kind !== 'veth' || (host !== undefined && link.peer !== host.index))
    problems.push(`${ifname} is not the other end of ${spec.hostLink}`);
  if (mac !== undefined && mac.toLowerCase() !== link.mac)
    problems.push(`${ifname} has the MAC ${link.mac}, not ${mac}`);
  if (!up) return problems;
  if (!link.isUp) problems.push(`${ifname} is down`);
  const there = addressesOf(route, link.index).map(({ ip, length }) => `${ip}/${length}`);
  for (const { address } of addresses)
    if (!there.includes(address)) problems.push(`${ifname} lacks the address ${address}`);
  return [...problems, ...routeProblems(routesOf(route, link.index), spec)];
}

function routeProblems(there: ReturnType<typeof routesOf>, spec: LinkSpec): readonly string[] {
  const lost = routesFor(spec).filter(({ dst, gw, table = MAIN, priority }) => {
    const text = parseCIDR(dst)?.text ?? dst;
    return !there.some(
      route =>
        route.dst === text &&
        route.gw === gw &&
        route.table === table &&
        (priority === undefined || route.priority === priority),
    );
  });
  return lost.map(({ dst, gw }) => `the route to ${dst}${gw === undefined ? '' : ` by ${gw}`} is gone`);
}
