/** The section `dns` of NodeConfiguration: its fields, and what they say once they are read. */
import * as z from 'zod/mini';
import type { UpstreamServer } from '../dns/settings.ts';
import type { PodNames } from '../dns/zone/zone.ts';
import { canonicalIP, isMulticast } from '../net/ip.ts';
import { checked, choice, cidrsIfSet, flag, integer, text } from './field-kinds.ts';

const DNS_PORT = 53;
const MOST_WORKERS = 16;
const LONGEST_TTL_S = 3600;
const MIB = 1024 * 1024;

/** Where the server listens: an address, or whatever addresses the Node object has. */
export interface ListenTarget {
  readonly address: string;
  readonly port: number;
}

/** In place of an address: those of the Node. One configuration then fits all nodes. */
export const NODE_ADDRESSES = 'node';

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;

/** Lower case, without the closing dot; undefined where it's no domain name, or the root. */
function zoneName(value: string): string | undefined {
  const name = value.trim().toLowerCase().replace(/\.$/, '');
  return name.length <= 253 && name.split('.').every(label => LABEL.test(label)) ? name : undefined;
}

/** RFC 1123: a namespace's name is one label. */
function namespaceName(value: string): string | undefined {
  const name = zoneName(value);
  return name?.includes('.') === true ? undefined : name;
}

/** `IP:port` or `[IPv6]:port`; with a default port an address alone too. */
function socketAddress(value: string, defaultPort?: number): { address: string; port: number } | undefined {
  const alone = canonicalIP(value);
  if (alone !== undefined) return defaultPort === undefined ? undefined : { address: alone, port: defaultPort };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(value) ?? [];
  const port = Number(digits);
  if (!(port >= 1 && port <= 65_535)) return undefined;
  if (plain === NODE_ADDRESSES) return { address: NODE_ADDRESSES, port };
  const address = canonicalIP(bracketed ?? plain ?? '');
  return address === undefined ? undefined : { address, port };
}

const isUnspecified = (address: string) => address === '0.0.0.0' || address === '::';
/** One host may have it. */
const isHosts = (address: string) => address === NODE_ADDRESSES || !(isUnspecified(address) || isMulticast(address));

export function socketText({ address, port }: ListenTarget): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function listenText(value: string): string | undefined {
  const where = socketAddress(value);
  // Whoever has the port at another address of the node (a local resolver at 127.0.0.53) must keep it.
  return where === undefined || !isHosts(where.address) ? undefined : socketText(where);
}

function upstreamText(value: string): string | undefined {
  const where = socketAddress(value, DNS_PORT);
  if (where === undefined || !isHosts(where.address) || where.address === NODE_ADDRESSES) return undefined;
  return socketText(where);
}

const list = (mustBe: string, entryMustBe: string, read: (value: string) => string | undefined) =>
  z.array(checked(entryMustBe, read), { error: mustBe });

const zones = () => list('must be a list of zones', 'must be a zone such as cluster.local', zoneName);
const serviceName = checked('must be namespace/name of a Service', value =>
  value === '' || /^[a-z0-9-]+\/[a-z0-9-]+$/.test(value) ? value : undefined,
);

export const DNS_FIELDS = {
  /** Whether names of the cluster are answered on this node. */
  enabled: flag(false),
  /** Exact addresses, as 127.0.0.1:5300 or [fd00::1]:53; `node:5300` = the addresses of the Node. */
  listen: z._default(
    list('must be a list of addresses', 'must be IP:port or node:port, of one address', listenText),
    [],
  ),
  /** The Service whose cluster IPs are served on the node; '' = none. */
  service: z._default(serviceName, 'kube-system/kube-dns'),
  /** Threads. */
  workers: integer(1, { min: 1, max: MOST_WORKERS }),
  zones: z._default(zones().check(z.minLength(1, { error: 'must name a zone at least' })), [
    'cluster.local',
    'in-addr.arpa',
    'ip6.arpa',
  ]),
  /** Of the records of our zones, seconds. */
  ttl: integer(5, { min: 0, max: LONGEST_TTL_S }),
  /** Names of pods' addresses (10-0-0-1.default.pod.cluster.local); verified = all pods of the cluster are watched. */
  pods: choice(['disabled', 'insecure', 'verified'], 'disabled'),
  /** Only these have names; none named = all. */
  namespaces: z._default(list('must be a list of namespaces', 'must be the name of a namespace', namespaceName), []),
  /** Services without a ready endpoint have no name. */
  ignoreEmptyServices: flag(false),
  /** Endpoints without a hostname are named as their pods are. */
  endpointPodNames: flag(false),
  /** Zones of ours whose misses are asked of upstream servers; not set = the reverse zones. */
  fallthrough: z.optional(zones()),
  /** Resolvers for all other names, as 10.0.0.2 or [fd00::2]:53; not set = the nameservers of `resolvConf`. */
  upstreams: z.optional(list('must be a list of resolvers', 'must be IP or IP:port of a resolver', upstreamText)),
  resolvConf: text('/etc/resolv.conf'),
  /** Questions to upstream servers under way, of each worker. */
  maxConcurrent: integer(1000, { min: 1 }, true),
  /** Of each worker: bytes of upstream answers that are kept. */
  cacheBytes: integer(4 * MIB, { min: 0 }),
  /** Who is answered; not set = clusterCIDR, the pod CIDRs and networks of the node; private ranges where no clusterCIDR is known. */
  clients: cidrsIfSet(),
  /** Questions a second of one client to one worker, but for clients on the node itself; 0 = no limit. */
  queriesPerSecond: integer(10_000, { min: 0 }),
  /** Where this server is reached, for NS records; not set = the addresses of the Node. */
  selfIPs: z.optional(list('must be a list of addresses', 'must be an IP address', canonicalIP)),
} as const;

type DnsFields = z.infer<z.ZodMiniObject<typeof DNS_FIELDS>>;

export interface DnsConfiguration {
  readonly enabled: boolean;
  readonly listen: readonly ListenTarget[];
  /** namespace/name; '' = none. */
  readonly service: string;
  readonly workers: number;
  readonly zones: readonly string[];
  readonly ttl: number;
  readonly pods: PodNames;
  /** Empty = all. */
  readonly namespaces: readonly string[];
  readonly ignoresEmptyServices: boolean;
  readonly endpointPodNames: boolean;
  readonly fallthrough: readonly string[];
  /** Absent = those of resolvConf. */
  readonly upstreams?: readonly UpstreamServer[];
  readonly resolvConf: string;
  readonly maxConcurrent: number;
  readonly cacheBytes: number;
  readonly clients?: readonly string[];
  readonly perSecond: number;
  readonly selfIPs?: readonly string[];
}

export function dnsConfiguration(fields: DnsFields): DnsConfiguration {
  const { enabled, service, workers, ttl, pods, namespaces, endpointPodNames, resolvConf, maxConcurrent, cacheBytes } =
    fields;
  const names = [...new Set(fields.zones)];
  const { clients, selfIPs, upstreams } = fields;
  return {
    ...{ enabled, service, workers, zones: names, ttl, pods, namespaces, endpointPodNames },
    ...{ resolvConf, maxConcurrent, cacheBytes, perSecond: fields.queriesPerSecond },
    ignoresEmptyServices: fields.ignoreEmptyServices,
    listen: fields.listen.map(parsed),
    fallthrough: fields.fallthrough ?? names.filter(isReverseZone),
    ...(upstreams === undefined ? {} : { upstreams: upstreams.map(parsed) }),
    ...(clients === undefined ? {} : { clients }),
    ...(selfIPs === undefined ? {} : { selfIPs }),
  };
}

function isReverseZone(zone: string): boolean {
  return /(?:^|\.)(?:in-addr|ip6)\.arpa$/.test(zone);
}

/** Of a text that was checked. */
function parsed(value: string): ListenTarget {
  const where = socketAddress(value, DNS_PORT);
  if (where === undefined) throw new TypeError(`not an address with a port: ${value}`);
  return where;
}
