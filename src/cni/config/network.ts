/** A runtime's request, as what the agent has to do. Pure. The fields are those of the bridge, portmap and bandwidth plugins; docs/cni.md lists them. */
import { canonicalIP, type IPFamily } from '../../net/ip.ts';
import {
  type AgentRequest,
  type AttachmentId,
  type Bandwidth,
  type CniDns,
  type CniResult,
  type CniRoute,
  type HostPort,
  LEAST_IPV6_MTU,
  type PodName,
} from '../types.ts';
import { readBandwidth, readPortMappings } from './capabilities.ts';
import { readDns } from './dns.ts';
import { Fields, isObject, type Json, refuse } from './reader.ts';
import { readRequested } from './requested.ts';
import { readRoutes } from './routes.ts';

export interface VlanRange {
  readonly minID?: number;
  readonly maxID?: number;
  readonly id?: number;
}

/** The link to make, and the bridge that it is to be a port of. */
export interface BridgePort {
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  /** Bytes; absent = the kernel's. */
  readonly mtu?: number;
  readonly hairpin: boolean;
  readonly promisc: boolean;
  readonly isolated: boolean;
  readonly vlan?: number;
  readonly vlanTrunk: readonly VlanRange[];
  readonly preserveDefaultVlan: boolean;
  readonly macspoofchk: boolean;
  readonly ipspoofchk: boolean;
  readonly dad: boolean;
  /** Whether the pod's end is brought up. */
  readonly isUp: boolean;
  readonly mac?: string;
}

export interface NetworkConfig {
  readonly id: AttachmentId;
  readonly netns: string;
  readonly pod: PodName;
  /** `link` = we make the interface; `chained` = somebody before us made it; `addresses` = another plugin has us give out addresses only. */
  readonly role: 'link' | 'chained' | 'addresses';
  readonly port: BridgePort;
  readonly ipMasq: boolean;
  /** `other` = another IPAM plugin gave `ipamResult`. */
  readonly ipam: 'none' | 'own' | 'other';
  /** For the ranges; see ranges.ts. */
  readonly ipamSection: Json;
  readonly runtimeRanges?: unknown;
  readonly requestedIPs: readonly string[];
  readonly routes: readonly CniRoute[];
  readonly resolvConf?: string;
  readonly dns?: CniDns;
  readonly hostPorts: readonly HostPort[];
  readonly bandwidth?: Bandwidth;
  readonly prevResult?: CniResult;
  readonly ipamResult?: CniResult;
}

const MTU = { min: 68, max: 65_535 };
const MAX_VLAN = 4094;
const DEFAULT_BRIDGE = 'cni0';
const OWN_IPAM: ReadonlySet<string> = new Set(['kproxy-cni', 'host-local']);

/** @throws CniError 7 with the field that can't be used */
export function readNetworkConfig(request: AgentRequest): NetworkConfig {
  const { config, ipamResult, netns } = request;
  const fields = new Fields(config);
  const runtime = fields.section('runtimeConfig');
  const ipam = ipamOf(fields);
  const prevResult = prevResultOf(config);
  const role = roleOf(request, prevResult);
  const requested = readRequested(fields, request.args);
  const port = readPort(fields, requested.mac);
  if (!port.isUp && ipam !== 'none' && role === 'link')
    refuse('disableContainerInterface', 'leaves no interface that could have the addresses of ipam');
  const section = fields.raw('ipam');
  const runtimeRanges = runtime.raw('ipRanges');
  const [dns, bandwidth, resolvConf] = [
    readDns(fields),
    readBandwidth(fields),
    fields.section('ipam').text('resolvConf'),
  ];
  return {
    id: idOf(request),
    netns,
    pod: podOf(request.args),
    role,
    port,
    ipMasq: fields.flag('ipMasq'),
    ipam,
    ipamSection: isObject(section) ? section : {},
    requestedIPs: requested.ips,
    routes: readRoutes(fields.section('ipam')),
    hostPorts: readPortMappings(runtime),
    ...(runtimeRanges === undefined ? {} : { runtimeRanges }),
    ...(resolvConf === undefined ? {} : { resolvConf }),
    ...(dns === undefined ? {} : { dns }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(prevResult === undefined ? {} : { prevResult }),
    ...(ipamResult === undefined ? {} : { ipamResult }),
  };
}

/** All that DEL, CHECK and GC need to know what is meant: whatever else is wrong with a configuration doesn't matter then. */
export function idOf({ config, containerID, ifname }: AgentRequest): AttachmentId {
  return { network: String(config.name), containerID, ifname };
}

export function podOf(args: Readonly<Record<string, string>>): PodName {
  const of = (key: string) => args[key] ?? '';
  return { namespace: of('K8S_POD_NAMESPACE'), name: of('K8S_POD_NAME'), uid: of('K8S_POD_UID') };
}

function ipamOf(fields: Fields): NetworkConfig['ipam'] {
  if (fields.raw('ipam') === undefined) return 'none';
  const type = fields.section('ipam').text('type') ?? '';
  if (type === '') return 'none';
  return OWN_IPAM.has(type) ? 'own' : 'other';
}

/** `prevResult`, whose form the plugin has checked. */
function prevResultOf({ prevResult }: Json): CniResult | undefined {
  return isObject(prevResult) ? (prevResult as CniResult) : undefined;
}

function roleOf({ config, ifname }: AgentRequest, prevResult: CniResult | undefined): NetworkConfig['role'] {
  if (config.kproxyDelegated === true) return 'addresses';
  const isThere = prevResult?.interfaces?.some(({ name, sandbox }) => name === ifname && (sandbox ?? '') !== '');
  return isThere === true ? 'chained' : 'link';
}

function readPort(fields: Fields, mac: string | undefined): BridgePort {
  const isDefaultGateway = fields.flag('isDefaultGateway');
  const [hairpin, promisc] = [fields.flag('hairpinMode'), fields.flag('promiscMode')];
  if (hairpin && promisc) refuse('promiscMode', 'must not be set together with hairpinMode');
  const mtu = fields.integer('mtu', { min: 0, max: MTU.max }) ?? 0;
  if (mtu !== 0 && mtu < MTU.min) refuse('mtu', `must be at least ${MTU.min}, or 0 for the kernel's own`);
  const vlan = fields.integer('vlan', { min: 0, max: MAX_VLAN }) ?? 0;
  return {
    bridge: bridgeName(fields),
    isGateway: isDefaultGateway || fields.flag('isGateway'),
    isDefaultGateway,
    forceAddress: fields.flag('forceAddress'),
    ...{ hairpin, promisc },
    isolated: fields.flag('portIsolation'),
    vlanTrunk: fields.list('vlanTrunk', trunkEntry),
    preserveDefaultVlan: fields.flag('preserveDefaultVlan'),
    macspoofchk: fields.flag('macspoofchk'),
    ipspoofchk: fields.flag('ipspoofchk'),
    dad: fields.flag('enabledad'),
    isUp: !fields.flag('disableContainerInterface'),
    ...(mtu === 0 ? {} : { mtu }),
    ...(vlan === 0 ? {} : { vlan }),
    ...(mac === undefined ? {} : { mac }),
  };
}

/** @throws CniError 7 where the link can't have the addresses that the pod gets */
export function refuseSmallMtu({ role, port }: NetworkConfig, families: readonly IPFamily[]): void {
  if (role === 'link' && port.mtu !== undefined && port.mtu < LEAST_IPV6_MTU && families.includes('IPv6'))
    refuse('mtu', `must be at least ${LEAST_IPV6_MTU} for the pod's IPv6 address`);
}

/** As the kernel's dev_valid_name() has it, of which `%` makes a pattern; what isn't ASCII, tools show each in its own way. */
function bridgeName(fields: Fields): string {
  const name = fields.text('bridge') ?? '';
  if (name === '') return DEFAULT_BRIDGE;
  const isFine = /^[!-~]{1,15}$/.test(name) && !/[/:%]|^\.{1,2}$/.test(name);
  return isFine ? name : refuse('bridge', `${JSON.stringify(name)} is no name that a link can have`);
}

function trunkEntry(value: unknown, path: string): VlanRange {
  const entry = Fields.of(value, path);
  const limits = { min: 1, max: MAX_VLAN };
  const [id, minID, maxID] = ['id', 'minID', 'maxID'].map(name => entry.integer(name, limits));
  if ((minID === undefined) !== (maxID === undefined)) refuse(path, 'minID and maxID go together');
  if (minID !== undefined && maxID !== undefined && minID > maxID) refuse(path, 'minID is greater than maxID');
  if (id === undefined && minID === undefined) refuse(path, 'names no VLAN');
  return {
    ...(id === undefined ? {} : { id }),
    ...(minID === undefined ? {} : { minID }),
    ...(maxID === undefined ? {} : { maxID }),
  };
}

/** Canonical, without prefix length. */
export function addressOf(cidr: string): string {
  return canonicalIP(cidr.split('/')[0] ?? '') ?? cidr;
}
