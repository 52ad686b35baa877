/** The cluster's objects as names see them. Pure but for the index, which changes in place. */

export interface DnsPort {
  /** '' = unnamed: no SRV record of its own. */
  readonly name: string;
  /** TCP, UDP or SCTP. */
  readonly protocol: string;
  readonly port: number;
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
  readonly externalName: string;
  readonly ports: readonly DnsPort[];
  readonly endpoints: readonly DnsEndpoint[];
}

/** What a name is looked up in: Services by namespace and name, and by the addresses that lead back to them. */
export class Cluster {
  readonly #services = new Map<string, Map<string, DnsService>>();
  readonly #namespaces = new Set<string>();
  readonly #byClusterIP = new Map<string, Set<DnsService>>();
  readonly #byEndpoint = new Map<string, Set<DnsService>>();
  /** Seconds since 1970 of the last change: the serial of the zones. */
  changedAt = 0;

  service(namespace: string, name: string): DnsService | undefined {
    return this.#services.get(namespace)?.get(name);
  }

  hasNamespace(namespace: string): boolean {
    return this.#namespaces.has(namespace);
  }

  /** Services with the cluster IP; more than one only while the API server corrects itself. */
  servicesAt(clusterIP: string): Iterable<DnsService> {
    return this.#byClusterIP.get(clusterIP) ?? [];
  }

  /** Services with an endpoint at the address. */
  servicesBehind(ip: string): Iterable<DnsService> {
    return this.#byEndpoint.get(ip) ?? [];
  }

  setNamespace(namespace: string, exists: boolean): void {
    if (exists) this.#namespaces.add(namespace);
    else this.#namespaces.delete(namespace);
  }

  /** Replaces the Service of that name; `service` undefined = it is gone. */
  set(namespace: string, name: string, service: DnsService | undefined): void {
    const before = this.service(namespace, name);
    if (before !== undefined) this.#forget(before);
    const owned = this.#services.get(namespace) ?? new Map<string, DnsService>();
    if (service === undefined) {
      owned.delete(name);
      if (owned.size === 0) this.#services.delete(namespace);
      return;
    }
    this.#services.set(namespace, owned.set(name, service));
    for (const ip of service.clusterIPs) added(this.#byClusterIP, ip, service);
    for (const { ip } of service.endpoints) added(this.#byEndpoint, ip, service);
  }

  #forget(service: DnsService): void {
    for (const ip of service.clusterIPs) removed(this.#byClusterIP, ip, service);
    for (const { ip } of service.endpoints) removed(this.#byEndpoint, ip, service);
  }
}

function added(index: Map<string, Set<DnsService>>, ip: string, service: DnsService): void {
  const services = index.get(ip);
  if (services === undefined) index.set(ip, new Set([service]));
  else services.add(service);
}

function removed(index: Map<string, Set<DnsService>>, ip: string, service: DnsService): void {
  const services = index.get(ip);
  services?.delete(service);
  if (services?.size === 0) index.delete(ip);
}
