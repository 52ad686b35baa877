/** hostPorts that a Service has too: the Service gets the packets, and people hear of it. */
import type { Happening } from '../../events/event.ts';
import { hostPortShared, hostPortTaken } from '../../events/happenings.ts';
import type { Logger } from '../../log.ts';
import type { Service } from '../../watch/objects.ts';
import type { Dirty, Snapshot } from '../../watch/snapshot.ts';
import type { HeldPorts } from '../agent/messages.ts';
import { type HostPort, hostPortText } from '../types.ts';

export interface PortConflictsOptions {
  readonly snapshot: () => Snapshot;
  readonly record: (happening: Happening) => void;
  readonly log: Pick<Logger, 'warn'>;
}

/** Each pair of a pod's port and a Service is told once, as long as both are there. */
export class PortConflicts {
  readonly #options: PortConflictsOptions;
  readonly #held = new Map<string, HeldPorts>();
  /** By holder, what was told. */
  readonly #told = new Map<string, Set<string>>();

  constructor(options: PortConflictsOptions) {
    this.#options = options;
  }

  /** What an attachment has now. */
  hold(ports: HeldPorts): void {
    const { key, pod, hostPorts, listeners } = ports;
    this.#told.delete(key);
    this.#held.delete(key);
    if (hostPorts.length === 0) return;
    this.#held.set(key, ports);
    for (const listener of listeners)
      this.#tell(ports, hostPortShared(pod, listener), `${listener.text} ${listener.place}`);
    for (const service of this.#options.snapshot().services.values()) this.#compare(service, [ports]);
  }

  /** Something of the cluster changed. */
  note({ services }: Pick<Dirty, 'services'>): void {
    if (this.#held.size === 0) return;
    for (const key of services) {
      const service = this.#options.snapshot().services.get(key);
      if (service !== undefined) this.#compare(service, this.#held.values());
    }
  }

  /** Of an agent that is no more. */
  clear(): void {
    this.#held.clear();
    this.#told.clear();
  }

  #compare(service: Service, all: Iterable<HeldPorts>): void {
    const name = `${service.namespace}/${service.name}`;
    for (const ports of all) {
      for (const port of ports.hostPorts) {
        const what = claimOf(service, port);
        if (what === undefined) continue;
        this.#tell(
          ports,
          hostPortTaken(ports.pod, { port: hostPortText(port), what, service: name }),
          `${what} ${name}`,
        );
      }
    }
  }

  #tell({ key, pod }: HeldPorts, happening: Happening, what: string): void {
    const told = this.#told.get(key) ?? new Set();
    if (told.has(what)) return;
    this.#told.set(key, told.add(what));
    this.#options.log.warn({ attachment: key }, happening.note);
    if (pod.name !== '') this.#options.record(happening);
  }
}

/** By what a Service has the port: `node port 30080`, `external IP 192.0.2.7, port 80`; undefined = it hasn't. */
function claimOf(service: Service, { hostIP, hostPort, protocol }: HostPort): string | undefined {
  const addresses = [...service.externalIPs, ...service.loadBalancerIngress.map(({ ip }) => ip)];
  for (const port of service.ports) {
    if (port.protocol.toLowerCase() !== protocol) continue;
    if (port.nodePort === hostPort) return `node port ${hostPort}`;
    if (port.port === hostPort && hostIP !== '' && addresses.includes(hostIP))
      return `external IP ${hostIP}, port ${hostPort}`;
  }
  return undefined;
}
