/** What the configuration means on this node. Pure. */

import type { LocalDetection } from '../../config/configuration.ts';
import type { DnsConfiguration } from '../../config/dns-fields.ts';
import { NODE_ADDRESSES } from '../../config/dns-fields.ts';
import type { Node, Service } from '../../watch/objects.ts';
import type { Snapshot } from '../../watch/snapshot.ts';
import type { ServedAddress } from '../node-address/tables.ts';
import type { DnsSettings, UpstreamServer } from '../settings.ts';
import type { SocketAddress } from '../worker/messages.ts';

export interface NodeFacts {
  /** Absent = no such object yet, or a source without Nodes. */
  readonly node: Node | undefined;
  readonly detectLocal: LocalDetection;
  /** The networks of this machine's interfaces, CIDRs. */
  readonly networks: readonly string[];
  /** The DNS Service's: a client on the node itself has this address. */
  readonly served: readonly ServedAddress[];
  /** Endpoints of the DNS Service: the nodes that have this server. */
  readonly servers: readonly string[];
  /** Of resolv.conf. */
  readonly nameservers: readonly UpstreamServer[];
}

/** RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291. */
const PRIVATE_RANGES = [
  ...['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '169.254.0.0/16'],
  ...['fc00::/7', 'fe80::/10'],
];
const LOOPBACK = ['127.0.0.0/8', '::1/128'];

export function settingsOf(dns: DnsConfiguration, facts: NodeFacts): DnsSettings {
  const { zones, ttl, pods, ignoresEmptyServices, fallthrough, maxConcurrent, cacheBytes, perSecond } = dns;
  return {
    ...{ zones, ttl, pods, ignoresEmptyServices, fallthrough, maxConcurrent, cacheBytes, perSecond },
    selfIPs: dns.selfIPs ?? nodeIPs(facts.node),
    upstreams: dns.upstreams ?? facts.nameservers,
    clients: dns.clients ?? clientsOf(facts),
    unlimited: [...LOOPBACK, ...[...nodeIPs(facts.node), ...facts.served.map(({ ip }) => ip)].map(rangeOf)],
  };
}

/** Canonical; empty while the Node has none. */
export function nodeIPs(node: Node | undefined): readonly string[] {
  return (node?.addresses ?? []).flatMap(({ type, address }) => (type === 'InternalIP' ? [address] : []));
}

/** The cluster's pods and nodes. Who says what pods' ranges are says it for all of them. */
function clientsOf({ node, detectLocal, networks, served, servers }: NodeFacts): readonly string[] {
  const cluster = detectLocal.mode === 'ClusterCIDR' ? detectLocal.cidrs : [];
  const others = cluster.length > 0 ? cluster : PRIVATE_RANGES;
  const own = [...served.map(({ ip }) => ip), ...servers].map(rangeOf);
  return [...new Set([...LOOPBACK, ...others, ...(node?.podCIDRs ?? []), ...networks, ...own])];
}

function rangeOf(ip: string): string {
  return `${ip}/${ip.includes(':') ? 128 : 32}`;
}

/** Where a Service is asked for names: its cluster IPs, at the ports that it has for UDP. */
function servedAddresses(service: Service | undefined): readonly ServedAddress[] {
  const ports = (service?.ports ?? []).filter(({ protocol }) => protocol === 'UDP').map(({ port }) => port);
  return (service?.clusterIPs ?? []).flatMap(ip => [...new Set(ports)].map(port => ({ ip, port })));
}

/** What the DNS Service says. @param key its namespace/name; '' = there is none */
export function serviceFacts({ services, slices }: Snapshot, key: string): Pick<NodeFacts, 'served' | 'servers'> {
  const own = [...(slices.get(key)?.values() ?? [])];
  const servers = own.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses));
  return { served: servedAddresses(services.get(key)), servers };
}

/** The addresses that `listen` means; `node:53` is none while the Node has none. */
export function listenAddresses({ listen }: DnsConfiguration, node: Node | undefined): readonly SocketAddress[] {
  return listen.flatMap(({ address, port }) =>
    address === NODE_ADDRESSES ? nodeIPs(node).map(ip => ({ address: ip, port })) : [{ address, port }],
  );
}

/** Why names are answered nowhere. */
export function noAddress({ listen, service }: DnsConfiguration): string {
  const lacksService = service === '' ? 'dns.service is empty' : `there is no Service ${service} with a cluster IP`;
  return listen.length === 0 ? `dns.listen is empty, and ${lacksService}` : lacksService;
}

/** Whether `node:53` is wanted, and means nothing yet. */
export function lacksNodeAddresses({ listen }: DnsConfiguration, node: Node | undefined): boolean {
  return nodeIPs(node).length === 0 && listen.some(({ address }) => address === NODE_ADDRESSES);
}
