/** Which Service holds which cluster IP and nodePort, and the giving out of free ones. */
import { familyOf, type IPFamily, parseCidr } from './addresses.ts';
import { AddressPool, PortPool } from './allocation.ts';
import { invalidValue } from './field-errors.ts';
import type { ServiceObject, ServicePort, ServiceSpec } from './kinds.ts';
import { isHeadless, needsClusterIP, needsHealthCheckNodePort, needsNodePorts } from './service-defaults.ts';
import { invalid, type StatusCause, StatusError } from './status.ts';

/** Cluster IPs and nodePorts that a Service holds. */
function heldBy(spec: ServiceSpec | undefined): { addresses: ReadonlySet<string>; ports: ReadonlySet<number> } {
  const isWithout = spec === undefined || !needsClusterIP(spec) || isHeadless(spec);
  const ports = (spec?.ports ?? []).map(port => port.nodePort).filter(port => port !== undefined);
  if (spec?.healthCheckNodePort !== undefined) ports.push(spec.healthCheckNodePort);
  return { addresses: new Set(isWithout ? [] : spec.clusterIPs), ports: new Set(ports) };
}

/** Collects what was taken during one write, so that a failed write gives it back. */
class Claim {
  readonly addresses: string[] = [];
  readonly ports: number[] = [];
}

export class ServiceAddresses {
  readonly #pools: readonly AddressPool[];
  readonly #ports: PortPool;

  /** Throws when a CIDR can't be read. */
  constructor(serviceCIDRs: readonly string[], nodePortRange: readonly [number, number]) {
    this.#pools = serviceCIDRs.map(text => {
      const cidr = parseCidr(text);
      if (cidr === undefined) throw new Error(`serviceCIDRs: ${JSON.stringify(text)} is not a CIDR`);
      return new AddressPool(cidr);
    });
    this.#ports = new PortPool(nodePortRange);
  }

  /** The families that Services of this cluster can have, the default one first. */
  get families(): readonly IPFamily[] {
    return this.#pools.map(pool => pool.cidr.family);
  }

  /** What cluster IPs are given out of. */
  get ranges(): readonly string[] {
    return this.#pools.map(pool => pool.cidr.text);
  }

  /** The address of the `kubernetes` Service. */
  get first(): string {
    return this.#pools[0]?.first ?? '';
  }

  /**
   * Fills in the addresses and ports that a Service lacks and takes those it names. Returns the function that gives
   * back what was taken, for a write that isn't stored. Throws 422 when one is held by another Service or impossible,
   * unless `isLenient`: then it is left as it is.
   */
  allocate(
    service: ServiceObject,
    old: ServiceObject | undefined,
    { isLenient = false }: { readonly isLenient?: boolean } = {},
  ): () => void {
    const claim = new Claim();
    const held = heldBy(old?.spec);
    const undo = (): void => this.#giveBack(claim.addresses, claim.ports);
    const causes: StatusCause[] = [];
    try {
      causes.push(...this.#allocateAddresses(service.spec, held.addresses, claim));
      causes.push(...this.#allocatePorts(service.spec, held.ports, claim));
    } catch (error) {
      undo();
      throw error;
    }
    if (causes.length === 0 || isLenient) return undo;
    undo();
    throw invalid('', 'Service', service.metadata.name ?? '', causes);
  }

  /** Gives back what `old` held and `service` doesn't hold any more; all of it when the Service is gone. */
  release(old: ServiceObject, service?: ServiceObject): void {
    const before = heldBy(old.spec);
    const after = heldBy(service?.spec);
    this.#giveBack(
      [...before.addresses].filter(address => !after.addresses.has(address)),
      [...before.ports].filter(port => !after.ports.has(port)),
    );
  }

  #poolOf(address: string): AddressPool | undefined {
    return this.#pools.find(pool => pool.cidr.family === familyOf(address));
  }

  #giveBack(addresses: readonly string[], ports: readonly number[]): void {
    for (const address of addresses) this.#poolOf(address)?.release(address);
    for (const port of ports) this.#ports.release(port);
  }

  #allocateAddresses(spec: ServiceSpec, held: ReadonlySet<string>, claim: Claim): StatusCause[] {
    if (!needsClusterIP(spec) || isHeadless(spec)) {
      if (isHeadless(spec)) spec.clusterIPs = ['None'];
      return [];
    }
    const given = spec.clusterIPs ?? [];
    const addresses: string[] = [];
    for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
      const pool = this.#pools.find(candidate => candidate.cidr.family === family);
      const wanted = given[index];
      const address = wanted ?? pool?.next();
      if (pool === undefined || address === undefined) {
        throw new StatusError(500, `failed to allocate a serviceIP: range is full`, { reason: 'InternalError' });
      }
      addresses.push(address);
      if (held.has(address)) continue;
      const problem = wanted === undefined ? undefined : pool.take(address);
      if (problem !== undefined) return [invalidValue('spec.clusterIPs', given, problem)];
      claim.addresses.push(address);
    }
    spec.clusterIPs = addresses;
    spec.clusterIP = addresses[0];
    return [];
  }

  #allocatePorts(spec: ServiceSpec, held: ReadonlySet<number>, claim: Claim): StatusCause[] {
    const causes: StatusCause[] = [];
    // The same port number over TCP and UDP gets the same nodePort, as DNS needs it.
    const byPort = new Map<number, ServicePort>();
    for (const [index, port] of (spec.ports ?? []).entries()) {
      const sibling = byPort.get(port.port);
      if (needsNodePorts(spec)) port.nodePort ??= sibling?.nodePort ?? this.#nextPort(claim);
      byPort.set(port.port, port);
      if (port.nodePort === undefined || held.has(port.nodePort) || claim.ports.includes(port.nodePort)) continue;
      const problem = this.#takePort(port.nodePort, claim);
      if (problem !== undefined) causes.push(invalidValue(`spec.ports[${index}].nodePort`, port.nodePort, problem));
    }
    if (!needsHealthCheckNodePort(spec)) return causes;
    if (spec.healthCheckNodePort === undefined || spec.healthCheckNodePort === 0) {
      spec.healthCheckNodePort = this.#nextPort(claim);
    } else if (!held.has(spec.healthCheckNodePort)) {
      const problem = this.#takePort(spec.healthCheckNodePort, claim);
      if (problem !== undefined) {
        causes.push(invalidValue('spec.healthCheckNodePort', spec.healthCheckNodePort, problem));
      }
    }
    return causes;
  }

  #nextPort(claim: Claim): number {
    const port = this.#ports.next();
    if (port === undefined) {
      throw new StatusError(500, 'failed to allocate a nodePort: range is full', { reason: 'InternalError' });
    }
    claim.ports.push(port);
    return port;
  }

  #takePort(port: number, claim: Claim): string | undefined {
    const problem = this.#ports.take(port);
    if (problem === undefined) claim.ports.push(port);
    return problem;
  }
}
