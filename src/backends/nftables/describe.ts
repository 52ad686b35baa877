/** What the elements of one ServicePort say about it by themselves. Pure. */
import type { DescribedService } from '../../dump/format.ts';
import type { DumpAddress, DumpEndpoint, DumpRule } from '../../dump/state.ts';
import { CHAINS, INSIDE_SLOTS, SETS } from './names.ts';

/** A frontend as its lines tell. */
interface Told {
  readonly ip: string;
  readonly port: number;
  /** Where the elements of each map lead. */
  readonly leadsTo: Map<string, string>;
  readonly slots: { readonly slot: number; readonly ip: string; readonly port: number }[];
  /** Addresses of endpoints that may reach themselves by it; of a cluster IP, those that are on this node, or of which nobody says where they are. */
  readonly hairpins: Set<string>;
}

const UNKNOWN = { ready: null, serving: null, terminating: null } as const;

export function describe(rules: readonly DumpRule[]): DescribedService {
  const clusterIPs = new Set(rules.filter(({ chain }) => chain === SETS.clusterIPs).map(({ rule }) => firstWord(rule)));
  const frontends = frontendsOf(rules);
  const isInternal = ({ ip, leadsTo }: Told) =>
    clusterIPs.has(ip) || (leadsTo.has(SETS.services) && !leadsTo.has(SETS.external));
  const internal = frontends.filter(isInternal);
  const external = frontends.filter(frontend => !isInternal(frontend));
  const kinds: readonly string[] = ['clusterIP', 'nodePort', 'externalIP'];
  const addresses = [...internal.map(clusterIPOf), ...external.map(externalAddress)];
  const endpoints = endpointsOf(internal, external);
  return {
    addresses: addresses.toSorted((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind)),
    internalTrafficPolicy: internalPolicy(internal),
    externalTrafficPolicy: externalPolicy(external),
    endpoints,
  };
}

/** Of what nft prints: the address of a cluster IP. */
function firstWord(rule: string): string {
  return rule.slice(0, rule.search(/ |$/));
}

const FRONTEND = /^(\S+) \. (?:tcp|udp|sctp) \. (\d+)(.*)$/;
const TARGET = /^(?: comment ".*")? : goto (\S+)$/;
const SLOT = /^ \. 0x([0-9a-f]{8}) : (\S+) \. (\d+)$/;
const HAIRPIN = /^(\S+) \. \S+ \. (.*)$/;

function frontendsOf(rules: readonly DumpRule[]): Told[] {
  const found = new Map<string, Told>();
  const at = (ip: string, port: string): Told => {
    const key = `${ip} ${port}`;
    const frontend = found.get(key) ?? { ip, port: Number(port), leadsTo: new Map(), slots: [], hairpins: new Set() };
    found.set(key, frontend);
    return frontend;
  };
  for (const { chain: set, rule } of rules) {
    const [, client, whole = rule] = set === SETS.hairpins ? (HAIRPIN.exec(rule) ?? []) : [];
    const [, ip, port, rest = ''] = FRONTEND.exec(whole) ?? [];
    if (ip === undefined || port === undefined) continue;
    if (client !== undefined) at(ip, port).hairpins.add(client);
    const [, target] = TARGET.exec(rest) ?? [];
    if (target !== undefined) at(ip, port).leadsTo.set(set, target);
    const [, slot, endpoint, endpointPort] = (set === SETS.endpoints ? SLOT.exec(rest) : undefined) ?? [];
    if (slot === undefined || endpoint === undefined) continue;
    at(ip, port).slots.push({ slot: Number.parseInt(slot, 16), ip: endpoint, port: Number(endpointPort) });
  }
  return [...found.values()];
}

function clusterIPOf({ ip, port }: Told): DumpAddress {
  return { kind: 'clusterIP', ip, port };
}

/** An address of a load balancer is an external one as any. */
function externalAddress({ ip, port }: Told): DumpAddress {
  return ip === '0.0.0.0' || ip === '::' ? { kind: 'nodePort', port } : { kind: 'externalIP', ip, port };
}

/** Under either policy the same elements are there while every endpoint is local. */
function internalPolicy(internal: readonly Told[]): DescribedService['internalTrafficPolicy'] {
  if (internal.some(({ leadsTo }) => leadsTo.get(SETS.refused) === CHAINS.drop)) return 'Local';
  return internal.some(({ slots, hairpins }) => slots.some(({ ip }) => !hairpins.has(ip))) ? 'Cluster' : null;
}

function externalPolicy(external: readonly Told[]): DescribedService['externalTrafficPolicy'] {
  const sources = external.map(({ leadsTo }) => leadsTo.get(SETS.external));
  if (sources.includes(CHAINS.masquerade)) return 'Cluster';
  if (sources.includes(CHAINS.sourceOfPolicyLocal)) return 'Local';
  return external.some(({ leadsTo }) => leadsTo.get(SETS.refused) === CHAINS.drop) ? 'Local' : null;
}

/** In the order of their slots; one is used where an entrance leads to it. */
function endpointsOf(internal: readonly Told[], external: readonly Told[]): DumpEndpoint[] {
  const found = new Map<string, DumpEndpoint>();
  const add = ({ ip, port }: Told['slots'][number], local: boolean | null, used: boolean) => {
    const key = `${ip} ${port}`;
    const known = found.get(key);
    found.set(key, { ip, port, ...UNKNOWN, local: known?.local ?? local, used: used || known?.used === true });
  };
  for (const { slots, hairpins, leadsTo } of internal) {
    for (const slot of slots) add(slot, hairpins.has(slot.ip) ? null : false, leadsTo.has(SETS.services));
  }
  for (const { slots, leadsTo } of external) {
    const isLocalOnly = leadsTo.get(SETS.external) === CHAINS.sourceOfPolicyLocal;
    for (const slot of slots) {
      const isHere = isLocalOnly && slot.slot < INSIDE_SLOTS;
      add(slot, isHere ? true : null, leadsTo.has(isHere || !isLocalOnly ? SETS.services : SETS.inside));
    }
  }
  return [...found.values()];
}
