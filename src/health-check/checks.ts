import type { HealthCheck } from '../endpoints/health-checks.ts';

/** A Service asks for a port that an older one has. */
export interface PortContest {
  readonly port: number;
  readonly owner: string;
  readonly loser: string;
}

type Wanted = Pick<HealthCheck, 'port' | 'creationTimestamp'>;

/** Which Service (namespace/name) has which health check node port, and its count. Every change costs what changed. */
export class HealthChecks {
  readonly #checks = new Map<string, HealthCheck>();
  /** The Services that ask for each port, the owner first. */
  readonly #claimants = new Map<number, readonly string[]>();

  /** All Services. */
  get services(): Iterable<string> {
    return this.#checks.keys();
  }

  /** What a Service has now. */
  portOf(service: string): number | undefined {
    return this.#checks.get(service)?.port;
  }

  /** All ports that a Service has. */
  get ports(): Iterable<number> {
    return this.#claimants.keys();
  }

  /** Whose port it is; undefined when nobody's. */
  ownerOf(port: number): { readonly service: string; readonly localEndpoints: number } | undefined {
    const service = this.#claimants.get(port)?.[0];
    const check = service === undefined ? undefined : this.#checks.get(service);
    return service === undefined || check === undefined ? undefined : { service, ...check };
  }

  /**
   * What a Service asks for now. A new or other port begins with no endpoints, as in kube-proxy. Returns the ports whose claimants
   * changed, and the contests that began.
   */
  want(service: string, wanted: Wanted | undefined): { touched: readonly number[]; contests: readonly PortContest[] } {
    const before = this.#checks.get(service);
    const isSame = before?.port === wanted?.port && before?.creationTimestamp === wanted?.creationTimestamp;
    if (isSame) return { touched: [], contests: [] };
    const touched = new Set<number>();
    if (before !== undefined) {
      this.#checks.delete(service);
      this.#claim(before.port, this.#others(before.port, service));
      touched.add(before.port);
    }
    if (wanted === undefined) return { touched: [...touched], contests: [] };
    const { port, creationTimestamp } = wanted;
    const localEndpoints = before?.port === port ? before.localEndpoints : 0;
    this.#checks.set(service, { port, creationTimestamp, localEndpoints });
    const [formerOwner] = this.#claimants.get(port) ?? [];
    const claimants = [...this.#others(port, service), service].sort((a, b) => this.#compare(a, b));
    this.#claim(port, claimants);
    touched.add(port);
    const [owner = service] = claimants;
    const loser = owner === service ? formerOwner : service;
    return { touched: [...touched], contests: loser === undefined ? [] : [{ port, owner, loser }] };
  }

  /** How many local endpoints are ready; nothing for a Service without a health check. */
  count(service: string, localEndpoints: number): void {
    const check = this.#checks.get(service);
    if (check !== undefined) this.#checks.set(service, { ...check, localEndpoints });
  }

  #others(port: number, service: string): readonly string[] {
    return (this.#claimants.get(port) ?? []).filter(claimant => claimant !== service);
  }

  #claim(port: number, claimants: readonly string[]): void {
    if (claimants.length === 0) this.#claimants.delete(port);
    else this.#claimants.set(port, claimants);
  }

  /** The older first, then by name; an unknown age counts as the youngest. */
  #compare(a: string, b: string): number {
    const age = (service: string) => this.#checks.get(service)?.creationTimestamp || '~';
    const [first, second] = age(a) === age(b) ? [a, b] : [age(a), age(b)];
    return first < second ? -1 : first > second ? 1 : 0;
  }
}
