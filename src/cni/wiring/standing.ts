/** Whether bridges and their ports stand as they were made: all of them with two requests, however many there are. */
import type { RouteKernel } from '../../linux/route-socket.ts';
import { dumpAddresses, readAddress } from '../../rtnetlink/addresses.ts';
import type { Link } from '../../rtnetlink/links.ts';
import { forwardingSwitches } from './bridge.ts';
import { linksOf } from './links.ts';
import type { WiringPorts } from './ports.ts';
import type { LinkSpec } from './specs.ts';

/** Something that `rejoin` of this link makes good. */
export interface Fault {
  readonly spec: LinkSpec;
  /** A sentence, the same for all ports of a bridge that has it. */
  readonly problem: string;
}

/** What the kernel has. */
export interface Standing {
  readonly links: readonly Link[];
  /** With prefix lengths, by the link's index. */
  readonly addresses: ReadonlyMap<number, ReadonlySet<string>>;
  /** Names of those switches of forwarding that are off. */
  readonly off: ReadonlySet<string>;
}

/** Of links that are gone nothing is said. @throws NetlinkError, or an error of the file system */
export function faults({ route, sysctls }: WiringPorts, specs: readonly LinkSpec[]): readonly Fault[] {
  if (specs.length === 0) return [];
  const switches = new Set(specs.flatMap(({ bridge }) => forwardingSwitches(bridge?.gateways ?? [])));
  const off = new Set([...switches].filter(name => sysctls.read(name) === '0'));
  return faultsIn({ links: linksOf(route), addresses: allAddresses(route), off }, specs);
}

/** Pure. */
export function faultsIn({ links, addresses, off }: Standing, specs: readonly LinkSpec[]): readonly Fault[] {
  const byName = new Map(links.map(link => [link.name, link]));
  return specs.flatMap(spec => {
    const host = byName.get(spec.hostLink);
    if (spec.bridge === undefined || host === undefined || host.alias !== spec.alias) return [];
    const bridge = byName.get(spec.bridge.name);
    const switched = forwardingSwitches(spec.bridge.gateways).filter(name => off.has(name));
    const problems = [
      ...(bridge?.kind === 'bridge' ? portProblems(spec, host, bridge) : [`the bridge ${spec.bridge.name} is missing`]),
      ...gatewayProblems(spec, { byName, addresses }),
      ...switched.map(name => `net.${name.replaceAll('/', '.')} is off`),
    ];
    return problems.map(problem => ({ spec, problem }));
  });
}

function portProblems({ hostLink }: LinkSpec, host: Link, bridge: Link): readonly string[] {
  return [
    ...(bridge.isUp ? [] : [`the bridge ${bridge.name} is down`]),
    ...(host.master === bridge.index ? [] : [`the host's end ${hostLink} is not on the bridge ${bridge.name}`]),
    ...(host.isUp ? [] : [`the host's end ${hostLink} is down`]),
  ];
}

/** With a VLAN the gateway is a link of its own; where VLANs only pass, there is none. */
function gatewayProblems(
  { bridge, vlan = 0, vlanTrunk = [] }: LinkSpec,
  { byName, addresses }: { readonly byName: ReadonlyMap<string, Link> } & Pick<Standing, 'addresses'>,
): readonly string[] {
  if (bridge === undefined || (vlan === 0 && vlanTrunk.length > 0)) return [];
  const name = vlan === 0 ? bridge.name : `${bridge.name}.${vlan}`;
  const holder = byName.get(name);
  const there = holder === undefined ? undefined : addresses.get(holder.index);
  const missing = bridge.gateways.filter(gateway => there?.has(gateway) !== true);
  return missing.map(gateway => `${name} lacks the gateway's address ${gateway}`);
}

function allAddresses(route: RouteKernel): ReadonlyMap<number, ReadonlySet<string>> {
  const byIndex = new Map<number, Set<string>>();
  for (const address of route.dump(dumpAddresses(0)).map(readAddress)) {
    if (address === undefined) continue;
    const there = byIndex.get(address.index) ?? new Set();
    byIndex.set(address.index, there.add(`${address.ip}/${address.length}`));
  }
  return byIndex;
}
