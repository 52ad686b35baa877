/**
 * What the names of the cluster are: the Kubernetes DNS-based service discovery specification 1.1.0
 * (github.com/kubernetes/dns, docs/specification.md), and CoreDNS's extensions of it. Pure.
 */
import { type Answer, type DnsRecord, RCODE, TYPE } from '../records.ts';
import type { Cluster, DnsService } from './cluster.ts';
import { addressOfLabel, addressOfReverse } from './reverse.ts';
import { addressRecords, type Found, NO_DATA, recordsBelow, serviceRecords } from './service-records.ts';

/** Names of pods' addresses (`10-0-0-1.default.pod`): none, of any address in a namespace that exists, or of those that pods there have. */
export type PodNames = 'disabled' | 'insecure' | 'verified';

export interface ZoneOptions {
  /** Lower case, without the closing dot; reverse zones too. */
  readonly zones: readonly string[];
  /** Seconds, 0 to 3600. */
  readonly ttl: number;
  readonly pods: PodNames;
  /** Names of Services without a ready endpoint don't exist. */
  readonly ignoresEmptyServices: boolean;
}

export interface ZoneFacts {
  readonly cluster: Cluster;
  /** Whether a pod of the namespace has the address; asked with `verified`. */
  readonly hasPod: (namespace: string, ip: string) => boolean;
  /** Addresses that this server is reached by, for NS. */
  readonly selfIPs: readonly string[];
}

/** An answer; the name that its last CNAME leads to, where somebody has to look that up too. */
export interface ZoneAnswer extends Answer {
  readonly chase?: string;
}

const SCHEMA_VERSION = '1.1.0';
const SCHEMA_TTL = 28_800;
/** Longer than this nobody shall believe that a name doesn't exist (RFC 2308 §5). */
const NEGATIVE_TTL_LIMIT = 300;
const SOA_TIMES = { refresh: 7200, retry: 1800, expire: 86_400 } as const;

/** One of the zones that are served. */
export class Zone {
  readonly name: string;
  /** Where SRV and PTR records point. */
  readonly #primary: string;
  readonly #options: ZoneOptions;
  readonly #facts: ZoneFacts;

  constructor(name: string, options: ZoneOptions, facts: ZoneFacts) {
    this.name = name;
    this.#primary = options.zones.find(zone => !isReverse(zone)) ?? name;
    this.#options = options;
    this.#facts = facts;
  }

  /** @param name lower case, this zone's or below it */
  lookup(name: string, type: number): ZoneAnswer {
    const found = isReverse(this.name) ? this.#reverse(name, type) : this.#forward(name, type);
    if (found === undefined) return this.#without(RCODE.NXDOMAIN);
    const { answers, additional = [] } = found;
    const [first] = answers;
    if (first === undefined) return this.#without(RCODE.NOERROR);
    const answer = { rcode: RCODE.NOERROR, answers, authority: [], additional };
    return 'target' in first && first.type === TYPE.CNAME && type !== TYPE.CNAME
      ? { ...answer, chase: first.target }
      : answer;
  }

  /** Nothing is known of the cluster yet. */
  unknown(): ZoneAnswer {
    return this.#without(RCODE.SERVFAIL);
  }

  #without(rcode: Answer['rcode']): ZoneAnswer {
    return { rcode, answers: [], authority: [this.#soa()], additional: [] };
  }

  #soa(): DnsRecord {
    const { name } = this;
    const { ttl } = this.#options;
    const minimum = Math.min(ttl, NEGATIVE_TTL_LIMIT);
    const times = { serial: this.#facts.cluster.changedAt, ...SOA_TIMES, minimum: ttl };
    return { name, ttl: minimum, type: TYPE.SOA, primary: `ns.dns.${name}`, mailbox: `hostmaster.${name}`, ...times };
  }

  #apex(type: number): Found {
    if (type === TYPE.SOA) return { answers: [this.#soa()] };
    return type === TYPE.NS ? this.#nameServers() : NO_DATA;
  }

  #forward(name: string, type: number): Found | undefined {
    if (name === this.name) return this.#apex(type);
    const labels = name.slice(0, -this.name.length - 1).split('.');
    const above = labels.slice(0, -1);
    switch (labels.at(-1)) {
      case 'svc':
        return this.#inServices(name, type, above);
      case 'pod':
        return this.#inPods(name, type, above);
      case 'dns':
        return this.#inDns(name, type, above);
      case 'dns-version':
        if (above.length > 0) return undefined;
        return type === TYPE.TXT ? { answers: [{ name, ttl: SCHEMA_TTL, type, text: SCHEMA_VERSION }] } : NO_DATA;
      default:
        return undefined;
    }
  }

  #inServices(name: string, type: number, labels: readonly string[]): Found | undefined {
    const [namespace, service] = [labels.at(-1), labels.at(-2)];
    if (namespace === undefined) return NO_DATA;
    const { cluster } = this.#facts;
    if (!cluster.hasNamespace(namespace)) return undefined;
    if (service === undefined) return NO_DATA;
    const found = cluster.service(namespace, service);
    if (found === undefined || this.#isHidden(found)) return undefined;
    const owner = { name, type, ttl: this.#options.ttl, serviceName: this.#nameOf(found) };
    return labels.length === 2 ? serviceRecords(owner, found) : recordsBelow(owner, found, labels.slice(0, -2));
  }

  #isHidden({ kind, endpoints }: DnsService): boolean {
    if (endpoints.length > 0 || kind === 'external-name') return false;
    return kind === 'headless' || this.#options.ignoresEmptyServices;
  }

  #nameOf({ namespace, name }: DnsService): string {
    return `${name}.${namespace}.svc.${this.#primary}`;
  }

  #inPods(name: string, type: number, labels: readonly string[]): Found | undefined {
    const [namespace, pod] = [labels.at(-1), labels.at(-2)];
    if (namespace === undefined) return NO_DATA;
    if (!this.#facts.cluster.hasNamespace(namespace)) return undefined;
    if (pod === undefined) return NO_DATA;
    const { pods, ttl } = this.#options;
    const ip = labels.length === 2 && pods !== 'disabled' ? addressOfLabel(pod) : undefined;
    if (ip === undefined || (pods === 'verified' && !this.#facts.hasPod(namespace, ip))) return undefined;
    return { answers: addressRecords({ name, type, ttl }, [ip]) };
  }

  /** Reverse zones: Services by their cluster IPs, else those that have an endpoint there. */
  #reverse(name: string, type: number): Found | undefined {
    if (name === this.name) return this.#apex(type);
    const labels = name.split('.');
    const ip = addressOfReverse(labels);
    if (ip === undefined) return undefined;
    const targets = this.#namesOf(ip);
    if (targets.length === 0) return undefined;
    const { ttl } = this.#options;
    return { answers: type === TYPE.PTR ? targets.map(target => ({ name, ttl, type, target })) : [] };
  }

  #namesOf(ip: string): readonly string[] {
    const { cluster } = this.#facts;
    for (const service of cluster.servicesAt(ip)) return [this.#nameOf(service)];
    const names = [...cluster.servicesBehind(ip)].flatMap(service =>
      service.endpoints.filter(endpoint => endpoint.ip === ip).map(({ label }) => `${label}.${this.#nameOf(service)}`),
    );
    return [...new Set(names)].toSorted();
  }

  /** `ns.dns`, where NS records point as long as no Service leads here; `dns` has nothing but that. */
  #inDns(name: string, type: number, labels: readonly string[]): Found | undefined {
    const [label] = labels;
    if (label === undefined) return NO_DATA;
    if (label !== 'ns' || labels.length > 1) return undefined;
    const ips = [...this.#servers().values()].flat();
    return { answers: addressRecords({ name, type, ttl: this.#options.ttl }, ips) };
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
    const { cluster, selfIPs } = this.#facts;
    const servers = new Map<string, readonly string[]>();
    for (const ip of selfIPs) {
      for (const service of cluster.servicesBehind(ip)) {
        const name = this.#nameOf(service);
        if (service.kind === 'cluster-ip') servers.set(name, service.clusterIPs);
        for (const { ip: own, label } of service.kind === 'headless' ? service.endpoints : []) {
          const target = `${label}.${name}`;
          if (own === ip) servers.set(target, [...(servers.get(target) ?? []), ip]);
        }
      }
    }
    return servers.size > 0 ? servers : new Map([[`ns.dns.${this.name}`, selfIPs]]);
  }
}

/** Lower case. */
export function isReverse(zone: string): boolean {
  return /(?:^|\.)(?:in-addr|ip6)\.arpa$/.test(zone);
}
