/** What each Service was asked for, as metrics; only where the operator wants so many series. */
import { Counter, type Registry } from 'prom-client';
import type { IPFamily } from './watch/objects.ts';

/** A counter of one Service port. */
export interface ServiceCount {
  readonly namespace: string;
  readonly service: string;
  /** '' when the port has no name. */
  readonly port: string;
  /** As the API writes it. */
  readonly protocol: string;
  readonly kind: 'connections' | 'refused';
  /** Of connections, the kind of address that they went to; of what was refused, why. */
  readonly what: string;
  readonly count: number;
}

export interface ServiceReadings {
  readonly family: IPFamily;
  /** Read from the kernel; undefined when that can't be done now, empty when nobody asked for it. */
  serviceCounts(): Promise<readonly ServiceCount[] | undefined>;
}

const SERVICE_LABELS = ['namespace', 'service', 'port', 'protocol', 'ip_family'] as const;

/** Counters for each Service port. They begin anew when a rule is written again, as when a Service loses its last endpoint. */
export function addServiceMetrics(registry: Registry, families: readonly ServiceReadings[]): void {
  let reading: Promise<(readonly ServiceCount[] | undefined)[]> | undefined;
  // One look serves both metrics of a scrape.
  const read = () => {
    reading ??= Promise.all(families.map(family => family.serviceCounts())).finally(() => {
      reading = undefined;
    });
    return reading;
  };
  const counter = (kind: ServiceCount['kind'], label: string, help: string) =>
    new Counter({
      name: `kproxy_service_${kind}_total`,
      help,
      labelNames: [...SERVICE_LABELS, label],
      registers: [registry],
      async collect() {
        const readings = await read();
        // What was read last stays: counters that vanish and come back look like new processes.
        if (readings.includes(undefined)) return;
        this.reset();
        for (const [i, counts] of readings.entries()) {
          for (const { namespace, service, port, protocol, what, count, ...rest } of counts ?? []) {
            if (rest.kind !== kind) continue;
            const ip_family = families[i]?.family ?? '';
            this.inc({ namespace, service, port, protocol, ip_family, [label]: what }, count);
          }
        }
      },
    });
  counter(
    'connections',
    'address',
    'New connections (UDP: flows) to a Service, by kind of address; with those that source ranges shut out',
  );
  counter('refused', 'reason', 'First packets of connections to a Service that were refused or dropped, by reason');
}
