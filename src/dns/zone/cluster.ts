/** The cluster's objects as names see them. Plain data, which threads can send each other; the index of it changes in place. Pure. */
import { AddressIndex } from './address-index.ts';
import { labelOfAddress } from './reverse.ts';
import { SharedParts } from './shared-parts.ts';

export interface DnsPort {
  /** '' = unnamed: no SRV record of its own. */
  readonly name: string;
  /** TCP, UDP or SCTP. */
  readonly protocol: string;
  readonly port: number;
}

/** Endpoints with the same ports, those of a slice: one text, because an object for each would cost ten times its memory. */
export interface DnsEndpointGroup {
  readonly ports: readonly DnsPort[];
  /** A line for each endpoint: its canonical address and, behind a space, its label where that isn't made of the address. Never empty. */
  readonly packed: string;
}

/** An address behind a Service that is ready, or published though it isn't. */
export interface DnsEndpoint {
  readonly ip: string;
  /** The first label of its own name. */
  readonly label: string;
  readonly ports: readonly DnsPort[];
}

export interface DnsService {
  readonly namespace: string;
  readonly name: string;
  readonly kind: 'cluster-ip' | 'headless' | 'external-name';
  /** Canonical. */
  readonly clusterIPs: readonly string[];
  /** Lower case, without the closing dot; '' of the other kinds. */
  readonly externalName: string;
  readonly ports: readonly DnsPort[];
  readonly groups: readonly DnsEndpointGroup[];
}

/** @param label undefined = made of the address */
export function packedEndpoint(ip: string, label?: string): string {
  return label === undefined ? ip : `${ip} ${label}`;
}

/** Their addresses alone, which is what most want to know; one may come twice. */
export function* endpointIPs({ groups }: DnsService): Iterable<string> {
  for (const { packed } of groups) {
    for (const line of packed.split('\n')) {
      const space = line.indexOf(' ');
      yield space === -1 ? line : line.slice(0, space);
    }
  }
}

export function* endpointsOf({ groups }: DnsService): Iterable<DnsEndpoint> {
  for (const { ports, packed } of groups) {
    for (const line of packed.split('\n')) {
      const space = line.indexOf(' ');
      const ip = space === -1 ? line : line.slice(0, space);
      yield { ip, label: space === -1 ? labelOfAddress(ip) : line.slice(space + 1), ports };
    }
  }
}

export function endpointCount({ groups }: DnsService): number {
  return groups.reduce((count, { packed }) => count + packed.split('\n').length, 0);
}

/** What a name is looked up in: Services by namespace and name, and by the addresses that lead back to them. */
export class Cluster {
  readonly #services = new Map<string, Map<string, DnsService>>();
  readonly #namespaces = new Set<string>();
  readonly #pods = new Map<string, Set<string>>();
  readonly #byClusterIP = new AddressIndex();
  readonly #byEndpoint = new AddressIndex();
  readonly #shared = new SharedParts();
  /** Seconds since 1970 of the last change: the serial of the zones. */
  changedAt = 0;
  /** Before it is, nobody can say what there is not. */
  isSynced = false;

  service(namespace: string, name: string): DnsService | undefined {
    return this.#services.get(namespace)?.get(name);
  }

  servicesIn(namespace: string): Iterable<DnsService> {
    return this.#services.get(namespace)?.values() ?? [];
  }

  /** A Service may be told of before its namespace is. */
  hasNamespace(namespace: string): boolean {
    return this.#namespaces.has(namespace) || this.#services.has(namespace);
  }

  /** Whether a pod of the namespace has the address. */
  hasPod(namespace: string, ip: string): boolean {
    return this.#pods.get(namespace)?.has(ip) === true;
  }

  /** Services with the cluster IP; more than one only while the API server corrects itself. By namespace and name. */
  servicesAt(clusterIP: string): readonly DnsService[] {
    return this.#byClusterIP.get(clusterIP);
  }

  /** Services with an endpoint at the address, by namespace and name. */
  servicesBehind(ip: string): readonly DnsService[] {
    return this.#byEndpoint.get(ip);
  }

  setNamespace(namespace: string, exists: boolean): void {
    if (exists) this.#namespaces.add(namespace);
    else this.#namespaces.delete(namespace);
  }

  /** Addresses that pods of the namespace have now, and those that none of them has any more. */
  setPods(namespace: string, added: readonly string[], removed: readonly string[]): void {
    const ips = this.#pods.get(namespace) ?? new Set<string>();
    for (const ip of removed) ips.delete(ip);
    for (const ip of added) ips.add(ip);
    if (ips.size === 0) this.#pods.delete(namespace);
    else this.#pods.set(namespace, ips);
  }

  /** Replaces the Service of that name; `told` undefined = it is gone. */
  set(namespace: string, name: string, told: DnsService | undefined): void {
    const before = this.service(namespace, name);
    if (before !== undefined) this.#forget(before);
    const owned = this.#services.get(namespace) ?? new Map<string, DnsService>();
    if (told === undefined) {
      owned.delete(name);
      if (owned.size === 0) this.#services.delete(namespace);
      return;
    }
    const service = this.#shared.service(told);
    this.#services.set(service.namespace, owned.set(service.name, service));
    for (const ip of service.clusterIPs) this.#byClusterIP.add(ip, service);
    for (const ip of endpointIPs(service)) this.#byEndpoint.add(ip, service);
  }

  #forget(service: DnsService): void {
    for (const ip of service.clusterIPs) this.#byClusterIP.remove(ip, service);
    for (const ip of endpointIPs(service)) this.#byEndpoint.remove(ip, service);
  }
}
