/**
 * What `/metrics` shows, with metric-readings.ts. kubeproxy_ metrics keep kube-proxy's names, labels, buckets and meaning, so
 * that its dashboards and alerts work; what it has no name for is kproxy_. Source: pkg/proxy/metrics/metrics.go of Kubernetes
 * 1.36, where each of its list is explained.
 */
import { Counter, exponentialBuckets, Gauge, Histogram, linearBuckets, Registry } from 'prom-client';

const SYNC_SECONDS = exponentialBuckets(0.001, 2, 15);
const NETWORK_PROGRAMMING_SECONDS = [
  ...linearBuckets(0.25, 0.25, 2),
  ...linearBuckets(1, 1, 59),
  ...linearBuckets(60, 5, 12),
  ...linearBuckets(120, 30, 7),
];
/** Our syncs take milliseconds, where kube-proxy's buckets begin. */
const FINE_SYNC_SECONDS = [
  0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30,
];

export type Metrics = ReturnType<typeof createMetrics>;

/** A registry of its own with every metric in it; nothing is shared between two calls. */
export function createMetrics(version: string) {
  const registry = new Registry();
  addProcessMetrics(registry, version);
  return {
    registry,
    ...syncMetrics(registry),
    ...nftablesMetrics(registry),
    ...changeMetrics(registry),
    ...probeMetrics(registry),
    ...conntrackMetrics(registry),
    ...ourMetrics(registry),
  };
}

function syncMetrics(registry: Registry) {
  const registers = [registry];
  const labelNames = ['ip_family'] as const;
  const syncHistogram = (name: string, help: string) =>
    new Histogram({ name: `kubeproxy_${name}_duration_seconds`, help, labelNames, buckets: SYNC_SECONDS, registers });
  const familyGauge = (name: string, help: string) =>
    new Gauge({ name: `kubeproxy_sync_proxy_rules_${name}`, help, labelNames, registers });
  const familyCounter = (name: string, help: string) =>
    new Counter({ name: `kubeproxy_sync_proxy_rules_${name}`, help, labelNames, registers });
  return {
    syncSeconds: syncHistogram('sync_proxy_rules', 'SyncProxyRules latency in seconds'),
    syncFullSeconds: syncHistogram('sync_full_proxy_rules', 'SyncProxyRules latency in seconds for full resyncs'),
    syncPartialSeconds: syncHistogram(
      'sync_partial_proxy_rules',
      'SyncProxyRules latency in seconds for partial resyncs',
    ),
    lastSyncTimestampSeconds: familyGauge(
      'last_timestamp_seconds',
      'The last time proxy rules were successfully synced',
    ),
    lastQueuedTimestampSeconds: familyGauge(
      'last_queued_timestamp_seconds',
      'The last time a sync of proxy rules was queued',
    ),
    iptablesRestoreFailures: familyCounter(
      'iptables_restore_failures_total',
      'Cumulative proxy iptables restore failures',
    ),
    iptablesPartialRestoreFailures: familyCounter(
      'iptables_partial_restore_failures_total',
      'Cumulative proxy iptables partial restore failures',
    ),
    networkProgrammingSeconds: new Histogram({
      name: 'kubeproxy_network_programming_duration_seconds',
      help: 'In Cluster Network Programming Latency in seconds',
      labelNames,
      buckets: NETWORK_PROGRAMMING_SECONDS,
      registers,
    }),
  };
}

/** In another mode these count nothing, as no such sync has failed. */
function nftablesMetrics(registry: Registry) {
  const counterOf = (what: string, help: string) => {
    const name = `kubeproxy_sync_proxy_rules_${what}`;
    const counter = new Counter({ name, help, labelNames: ['ip_family'] as const, registers: [registry] });
    for (const family of ['IPv4', 'IPv6']) counter.inc({ ip_family: family }, 0);
    return counter;
  };
  // What is left over goes with the sync, in one transaction.
  counterOf('nftables_cleanup_failures_total', 'Cumulative proxy nftables cleanup failures');
  return { nftablesSyncFailures: counterOf('nftables_sync_failures_total', 'Cumulative proxy nftables sync failures') };
}

function changeMetrics(registry: Registry) {
  const registers = [registry];
  const total = (object: string, help: string) =>
    new Counter({ name: `kubeproxy_sync_proxy_rules_${object}_changes_total`, help, registers });
  return {
    endpointChanges: total('endpoint', 'Cumulative proxy rules Endpoint changes'),
    serviceChanges: total('service', 'Cumulative proxy rules Service changes'),
  };
}

function probeMetrics(registry: Registry) {
  const probe = (name: string) =>
    new Counter({
      name: `kubeproxy_proxy_${name}_total`,
      help: `Cumulative proxy ${name} HTTP status`,
      labelNames: ['code'] as const,
      registers: [registry],
    });
  return { healthzProbes: probe('healthz'), livezProbes: probe('livez') };
}

function conntrackMetrics(registry: Registry) {
  const byFamily = { labelNames: ['ip_family'] as const, registers: [registry] };
  return {
    conntrackSeconds: new Histogram({
      name: 'kubeproxy_conntrack_reconciler_sync_duration_seconds',
      help: 'ReconcileConntrackFlowsLatency in seconds',
      buckets: SYNC_SECONDS,
      ...byFamily,
    }),
    conntrackDeleted: new Counter({
      name: 'kubeproxy_conntrack_reconciler_deleted_entries_total',
      help: 'Cumulative conntrack flows deleted by conntrack reconciler',
      ...byFamily,
    }),
  };
}

function ourMetrics(registry: Registry) {
  const registers = [registry];
  const byFamily = { labelNames: ['ip_family'] as const, registers };
  return {
    fineSyncSeconds: new Histogram({
      name: 'kproxy_sync_duration_seconds',
      help: 'From the first pending change to the kernel having it, in seconds',
      buckets: FINE_SYNC_SECONDS,
      ...byFamily,
    }),
    syncFailures: new Counter({ name: 'kproxy_sync_failures_total', help: 'Syncs that failed', ...byFamily }),
    servicePorts: new Gauge({ name: 'kproxy_service_ports', help: 'Service ports that are served', ...byFamily }),
  };
}

/** The few process_ metrics that Go programs have, read when asked: prom-client's own set keeps timers and histograms. */
function addProcessMetrics(registry: Registry, version: string): void {
  const registers = [registry];
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size in bytes.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  const startedSeconds = Date.now() / 1000 - process.uptime();
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'Start time of the process since unix epoch in seconds.',
    registers,
  }).set(startedSeconds);
  new Gauge({
    name: 'kproxy_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node_version'] as const,
    registers,
  }).set({ version, node_version: process.version }, 1);
}
