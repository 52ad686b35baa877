/**
 * What the names of the cluster are: the Kubernetes DNS-based service discovery specification 1.1.0
 * (github.com/kubernetes/dns, docs/specification.md), and CoreDNS's extensions of it. Pure.
 */
import { type Answer, type DnsRecord, RCODE, type Rcode, TYPE } from '../records.ts';
import { type NegativeSoa, negativeSoa } from '../wire/negative.ts';
import type { Cluster } from './cluster.ts';
import { type DnsService, endpointsOf } from './dns-service.ts';
import { addressOfLabel, addressOfReverse, isAboveReverse } from './reverse.ts';
import { addressRecords, type Found, NO_DATA, recordsBelow, serviceRecords } from './service-records.ts';

/** Names of pods' addresses (`10-0-0-1.default.pod`): none, of any address in a namespace that exists, or of those that pods there have. */
export type PodNames = 'disabled' | 'insecure' | 'verified';

export interface ZoneOptions {
  /** Lower case, without the closing dot; reverse zones too. */
  readonly zones: readonly string[];
  /** Of `zones`: those whose misses are asked of others. */
  readonly fallthrough: readonly string[];
  /** Seconds, 0 to 3600. */
  readonly ttl: number;
  readonly pods: PodNames;
  /** Names of Services without a ready endpoint don't exist. */
  readonly ignoresEmptyServices: boolean;
  /** Addresses that this server is reached by, for NS. */
  readonly selfIPs: readonly string[];
}

const SCHEMA_VERSION = '1.1.0';
const SCHEMA_TTL = 28_800;
/** Longer than this nobody shall believe that a name doesn't exist (RFC 2308 §5). */
const NEGATIVE_TTL_LIMIT = 300;
const SOA_TIMES = { refresh: 7200, retry: 1800, expire: 86_400 } as const;

/** One of the zones that are served. */
export class Zone {
  readonly name: string;
  readonly labels: readonly string[];
  readonly fallsThrough: boolean;
  readonly negativeSoa: NegativeSoa;
  readonly #isReverse: boolean;
  /** Where SRV and PTR records point. */
  readonly #primary: string;
  readonly #options: ZoneOptions;
  readonly #cluster: Cluster;

  constructor(name: string, options: ZoneOptions, cluster: Cluster) {
    const { zones, fallthrough, ttl } = options;
    this.name = name;
    this.labels = name.split('.');
    this.fallsThrough = fallthrough.includes(name);
    this.#isReverse = isReverse(name);
    this.#primary = zones.find(zone => !isReverse(zone)) ?? name;
    this.#options = options;
    this.#cluster = cluster;
    const names = { zone: name, primary: 'ns.dns', mailbox: 'hostmaster' };
    this.negativeSoa = negativeSoa({ ...names, ...SOA_TIMES, ttl: negativeTtl(ttl), minimum: ttl });
  }

  /** Before the cluster is known nobody can say what doesn't exist. */
  get isKnown(): boolean {
    return this.#cluster.isSynced;
  }

  get pods(): PodNames {
    return this.#options.pods;
  }

  /** @param labels lower case, of this zone's name or one below it; undefined = there is no such name */
  find(labels: readonly string[], type: number): Found | undefined {
    const found = this.#find(labels, type);
    // Nobody needs all that a name has, but who wants others flooded with it (RFC 8482 §4.1); CoreDNS says the same.
    return type === TYPE.ANY ? found && NO_DATA : found;
  }

  /** What was found, with SOA where that is nothing. */
  answer(found: Found | undefined): Answer {
    if (found === undefined) return this.without(RCODE.NXDOMAIN);
    const { answers, additional = [] } = found;
    return answers.length === 0
      ? this.without(RCODE.NOERROR)
      : { rcode: RCODE.NOERROR, answers, authority: [], additional };
  }

  without(rcode: Rcode): Answer {
    return { rcode, answers: [], authority: [this.#soa()], additional: [] };
  }

  #find(labels: readonly string[], type: number): Found | undefined {
    if (labels.length === this.labels.length) return this.#apex(type);
    return this.#isReverse ? this.#reverse(labels, type) : this.#forward(labels, type);
  }

  #soa(): DnsRecord {
    const { name } = this;
    const { ttl } = this.#options;
    const times = { serial: this.#cluster.changedAt, ...SOA_TIMES, minimum: ttl };
    const names = { primary: `ns.dns.${name}`, mailbox: `hostmaster.${name}` };
    return { name, ttl: negativeTtl(ttl), type: TYPE.SOA, ...names, ...times };
  }

  #apex(type: number): Found {
    if (type === TYPE.SOA) return { answers: [this.#soa()] };
    return type === TYPE.NS ? this.#nameServers() : NO_DATA;
  }

  #forward(all: readonly string[], type: number): Found | undefined {
    const last = all.length - this.labels.length - 1;
    const above = all.slice(0, last);
    switch (all[last]) {
      case 'svc':
        return this.#inServices(all, type, above);
      case 'pod':
        return this.#inPods(all, type, above);
      case 'dns':
        return this.#inDns(all, type, above);
      case 'dns-version': {
        if (above.length > 0) return undefined;
        const name = all.join('.');
        return type === TYPE.TXT ? { answers: [{ name, ttl: SCHEMA_TTL, type, text: SCHEMA_VERSION }] } : NO_DATA;
      }
      default:
        return undefined;
    }
  }

  #inServices(all: readonly string[], type: number, labels: readonly string[]): Found | undefined {
    const [namespace, service] = [labels.at(-1), labels.at(-2)];
    if (namespace === undefined) return NO_DATA;
    if (!this.#cluster.hasNamespace(namespace)) return undefined;
    if (service === undefined) return NO_DATA;
    const found = this.#cluster.service(namespace, service);
    if (found === undefined || this.isHidden(found)) return undefined;
    const owner = { name: all.join('.'), type, ttl: this.#options.ttl, serviceName: this.#nameOf(found) };
    return labels.length === 2 ? serviceRecords(owner, found) : recordsBelow(owner, found, labels.slice(0, -2));
  }

  /** Whether its name doesn't exist for want of endpoints. */
  isHidden({ kind, groups }: DnsService): boolean {
    if (groups.length > 0 || kind === 'external-name') return false;
    return kind === 'headless' || this.#options.ignoresEmptyServices;
  }

  #nameOf({ namespace, name }: DnsService): string {
    return `${name}.${namespace}.svc.${this.#primary}`;
  }

  #inPods(all: readonly string[], type: number, labels: readonly string[]): Found | undefined {
    const [namespace, pod] = [labels.at(-1), labels.at(-2)];
    if (namespace === undefined) return NO_DATA;
    if (!this.#cluster.hasNamespace(namespace)) return undefined;
    if (pod === undefined) return NO_DATA;
    const { pods, ttl } = this.#options;
    const ip = labels.length === 2 && pods !== 'disabled' ? addressOfLabel(pod) : undefined;
    if (ip === undefined || (pods === 'verified' && !this.#cluster.hasPod(namespace, ip))) return undefined;
    return { answers: addressRecords({ name: all.join('.'), type, ttl }, [ip]) };
  }

  /** Reverse zones: Services by their cluster IPs, else those that have an endpoint there. */
  #reverse(labels: readonly string[], type: number): Found | undefined {
    const ip = addressOfReverse(labels);
    // RFC 8020: to deny a name denies all below it. Where others answer too, they know whether it exists.
    if (ip === undefined) return isAboveReverse(labels) && !this.fallsThrough ? NO_DATA : undefined;
    const targets = this.#namesOf(ip);
    if (targets.length === 0) return undefined;
    const { ttl } = this.#options;
    const name = labels.join('.');
    return type === TYPE.PTR ? { answers: targets.map(target => ({ name, ttl, type, target })) } : NO_DATA;
  }

  #namesOf(ip: string): readonly string[] {
    for (const service of this.#cluster.servicesAt(ip)) return [this.#nameOf(service)];
    const names = this.#cluster
      .servicesBehind(ip)
      .flatMap(service =>
        [...endpointsOf(service)]
          .filter(endpoint => endpoint.ip === ip)
          .map(({ label }) => `${label}.${this.#nameOf(service)}`),
      );
    return [...new Set(names)].toSorted();
  }

  /** `ns.dns`, where NS records point as long as no Service leads here; `dns` has nothing but that. */
  #inDns(all: readonly string[], type: number, labels: readonly string[]): Found | undefined {
    const [label] = labels;
    if (label === undefined) return NO_DATA;
    if (label !== 'ns' || labels.length > 1) return undefined;
    const ips = [...this.#servers().values()].flat();
    return { answers: addressRecords({ name: all.join('.'), type, ttl: this.#options.ttl }, ips) };
  }

  #nameServers(): Found {
    const { name } = this;
    const { ttl } = this.#options;
    const servers = [...this.#servers()];
    return {
      answers: servers.map(([target]) => ({ name, ttl, type: TYPE.NS, target })),
      additional: servers.flatMap(([target, ips]) => addressRecords({ name: target, type: TYPE.SRV, ttl }, ips)),
    };
  }

  /** Names of this server with their addresses: the Services that lead to it; where none does, `ns.dns`. */
  #servers(): ReadonlyMap<string, readonly string[]> {
    const { selfIPs } = this.#options;
    const servers = new Map<string, readonly string[]>();
    for (const ip of selfIPs) {
      for (const service of this.#cluster.servicesBehind(ip)) {
        const name = this.#nameOf(service);
        if (service.kind === 'cluster-ip') servers.set(name, service.clusterIPs);
        for (const { ip: own, label } of service.kind === 'headless' ? endpointsOf(service) : []) {
          const target = `${label}.${name}`;
          if (own === ip) servers.set(target, [...(servers.get(target) ?? []), ip]);
        }
      }
    }
    return servers.size > 0 ? servers : new Map([[`ns.dns.${this.name}`, selfIPs]]);
  }
}

function negativeTtl(ttl: number): number {
  return Math.min(ttl, NEGATIVE_TTL_LIMIT);
}

/** The zone that a name is in, if it's one of these: the longest. */
export function zoneOf(zones: readonly Zone[], labels: readonly string[]): Zone | undefined {
  let found: Zone | undefined;
  for (const zone of zones) {
    if (zone.labels.length > (found?.labels.length ?? 0) && endsWith(labels, zone.labels)) found = zone;
  }
  return found;
}

function endsWith(labels: readonly string[], end: readonly string[]): boolean {
  const from = labels.length - end.length;
  if (from < 0) return false;
  for (let i = 0; i < end.length; i += 1) if (labels[from + i] !== end[i]) return false;
  return true;
}

/** Lower case. */
export function isReverse(zone: string): boolean {
  return /(?:^|\.)(?:in-addr|ip6)\.arpa$/.test(zone);
}
