/** The cluster's objects as names see them: an index that changes in place. Pure. */
import { AddressIndex } from './address-index.ts';
import { type DnsService, endpointIPs } from './dns-service.ts';
import { SharedParts } from './shared-parts.ts';

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
