/** What `/metrics` says of pods' networks: what the agent counted, read at each scrape. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { AgentReadings } from '../agent/messages.ts';

/** Families without values where no pods are wired. */
export function addCniMetrics(registry: Registry, read: () => Promise<AgentReadings | undefined>): void {
  const registers = [registry];
  new Gauge({
    name: 'kproxy_cni_attachments',
    help: 'Interfaces of pods that this node has a record of.',
    registers,
    async collect() {
      const readings = await read();
      this.reset();
      if (readings !== undefined) this.set(readings.attachments);
    },
  });
  new Counter({
    name: 'kproxy_cni_requests_total',
    help: 'Requests of the container runtime, by verb and the code of the answer (ok, or an error code of the CNI specification).',
    labelNames: ['command', 'code'],
    registers,
    async collect() {
      const readings = await read();
      this.reset();
      for (const [key, count] of Object.entries(readings?.requests ?? {})) {
        const [command = '', code = ''] = key.split(' ');
        this.inc({ command, code }, count);
      }
    },
  });
  new Counter({
    name: 'kproxy_cni_request_seconds_total',
    help: "Seconds that the container runtime's requests took, from their arrival at the agent to the answer.",
    labelNames: ['command'],
    registers,
    async collect() {
      const readings = await read();
      this.reset();
      for (const [command, seconds] of Object.entries(readings?.seconds ?? {})) this.inc({ command }, seconds);
    },
  });
}
