/** Metrics that are read where the number lives, at each scrape, instead of being kept up to date. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { countNoLocal } from './endpoints/no-local.ts';
import type { Model } from './endpoints/types.ts';
import type { ApiSource } from './watch/api-source.ts';
import type { IPFamily, Kind } from './watch/objects.ts';
import type { ReflectorStats } from './watch/reflector-stats.ts';

/** Counts what each family's Model serves. */
export function addModelMetrics(registry: Registry, models: () => Iterable<Model>): void {
  new Gauge({
    name: 'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
    help: 'Number of services with a Local traffic policy and no endpoints',
    labelNames: ['traffic_policy', 'ip_family'],
    registers: [registry],
    collect() {
      for (const model of models()) {
        const { internal, external } = countNoLocal(model);
        this.set({ traffic_policy: 'internal', ip_family: model.family }, internal);
        this.set({ traffic_policy: 'external', ip_family: model.family }, external);
      }
    },
  });
  new Gauge({
    name: 'kproxy_endpoints',
    help: 'Endpoints of the served Service ports, whatever their condition',
    labelNames: ['ip_family'],
    registers: [registry],
    collect() {
      for (const { family, routes } of models()) {
        let endpoints = 0;
        for (const route of routes.values()) endpoints += route.endpoints.length;
        this.set({ ip_family: family }, endpoints);
      }
    },
  });
}

/** What waits for the kernel. Families share these, as in kube-proxy: of two numbers the larger one. */
export function addPendingMetrics(
  registry: Registry,
  families: readonly { readonly services: number; readonly endpoints: number }[],
): void {
  const gauge = (what: string, help: string, read: (family: (typeof families)[number]) => number) =>
    new Gauge({
      name: `kubeproxy_sync_proxy_rules_${what}_changes_pending`,
      help,
      registers: [registry],
      collect() {
        this.set(Math.max(0, ...families.map(read)));
      },
    });
  gauge('endpoint', 'Pending proxy rules Endpoint changes', ({ endpoints }) => endpoints);
  gauge('service', 'Pending proxy rules Service changes', ({ services }) => services);
}

/** Rules of ours in the kernel, by table. */
export interface RuleCounts {
  readonly filter: number;
  readonly nat: number;
}

export interface RuleReadings {
  readonly family: IPFamily;
  /** All that are there, and those that the last sync wrote; undefined before the first sync. */
  ruleCounts(): { readonly total: RuleCounts; readonly last: RuleCounts } | undefined;
  /** Packets that rules of ours have met since they were written; without what has no rule. Undefined = can't be read now. */
  packetCounts(): Promise<PacketCounts | undefined>;
}

export interface PacketCounts {
  readonly invalidDropped?: number;
  readonly localhostNodePorts?: number;
}

/** Rules and their packets. kube-proxy counts packets with nfacct, which needs a kernel module; a rule has a counter of its own. */
export function addRuleMetrics(registry: Registry, families: readonly RuleReadings[]): void {
  const rules = (which: 'total' | 'last', help: string) =>
    new Gauge({
      name: `kubeproxy_sync_proxy_rules_iptables_${which}`,
      help,
      labelNames: ['table', 'ip_family'],
      registers: [registry],
      collect() {
        for (const proxy of families) {
          const counts = proxy.ruleCounts()?.[which];
          if (counts === undefined) continue;
          for (const table of ['filter', 'nat'] as const) {
            this.set({ table, ip_family: proxy.family }, counts[table]);
          }
        }
      },
    });
  rules('total', 'Total number of iptables rules owned by kube-proxy');
  rules('last', 'Number of iptables rules written by kube-proxy in last sync');
  let reading: Promise<(PacketCounts | undefined)[]> | undefined;
  // One look serves both metrics of a scrape.
  const read = () => {
    reading ??= Promise.all(families.map(proxy => proxy.packetCounts())).finally(() => {
      reading = undefined;
    });
    return reading;
  };
  const packets = (name: string, help: string, which: keyof PacketCounts) =>
    new Counter({
      name,
      help,
      registers: [registry],
      async collect() {
        const counts = await read();
        const known = counts.filter(count => count !== undefined);
        // What was read last stays: a counter that fell to nothing would look like a new process.
        if (known.length < counts.length) return;
        this.reset();
        this.inc(known.reduce((sum, count) => sum + (count[which] ?? 0), 0));
      },
    });
  packets(
    'kubeproxy_iptables_ct_state_invalid_dropped_packets_total',
    'packets dropped by iptables to work around conntrack problems',
    'invalidDropped',
  );
  packets(
    'kubeproxy_iptables_localhost_nodeports_accepted_packets_total',
    'Number of packets accepted on nodeports of loopback interface',
    'localhostNodePorts',
  );
}

export interface ElementReadings {
  readonly family: IPFamily;
  /** Elements that we have in each set or map of nf_tables; undefined before the first sync, and in other modes. */
  elementCounts(): ReadonlyMap<string, number> | undefined;
}

/** What the nftables mode has in the kernel: kube-proxy counts nothing there. */
export function addElementMetrics(registry: Registry, families: readonly ElementReadings[]): void {
  new Gauge({
    name: 'kproxy_nftables_elements',
    help: 'Elements that kproxy-ts has in the sets and maps of its nftables table',
    labelNames: ['set', 'ip_family'],
    registers: [registry],
    collect() {
      for (const proxy of families) {
        for (const [set, count] of proxy.elementCounts() ?? []) this.set({ set, ip_family: proxy.family }, count);
      }
    },
  });
}

/** What an API source has seen, per kind. Manifests have no connection that could be lost, so a file source has none of these. */
export function addWatchMetrics(registry: Registry, source: { readonly stats: ApiSource['stats'] | undefined }): void {
  const labelNames = ['kind'];
  const registers = [registry];
  const perKind = () => Object.entries(source.stats ?? {}) as [Kind, ReflectorStats][];
  new Gauge({
    name: 'kproxy_watch_last_contact_timestamp_seconds',
    help: 'The last time the API server said anything about this kind of object; absent before the first',
    labelNames,
    registers,
    collect() {
      for (const [kind, { lastContactMs }] of perKind()) {
        if (lastContactMs > 0) this.set({ kind }, lastContactMs / 1000);
      }
    },
  });
  new Counter({
    name: 'kproxy_watch_relists_total',
    help: 'Complete lists of this kind of object after the first',
    labelNames,
    registers,
    collect() {
      this.reset();
      for (const [kind, { relists }] of perKind()) this.inc({ kind }, relists);
    },
  });
}
