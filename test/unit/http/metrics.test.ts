import { describe, expect, test } from 'vitest';
import { metricsRoutes } from '../../../src/http/metrics.ts';
import { createMetrics } from '../../../src/metrics.ts';
import { findExpositionProblems } from './exposition.ts';

async function scrape(metrics: ReturnType<typeof createMetrics>): Promise<string> {
  const reply = await metricsRoutes({ registry: metrics.registry, proxyMode: 'iptables' })['/metrics']?.('');
  return reply?.body ?? '';
}

describe('the metrics server', () => {
  test('answers /metrics in the text format', async () => {
    const routes = metricsRoutes({ registry: createMetrics('1.2.3').registry, proxyMode: 'iptables' });
    const reply = await routes['/metrics']?.('');
    expect(reply?.contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(reply?.body).toContain(`kproxy_build_info{version="1.2.3",node_version="${process.version}"} 1`);
  });

  test('answers /proxyMode and /healthz as kube-proxy does', async () => {
    const routes = metricsRoutes({ registry: createMetrics('1.2.3').registry, proxyMode: 'iptables' });
    expect(await routes['/proxyMode']?.('')).toMatchObject({ status: 200, body: 'iptables' });
    expect(await routes['/healthz']?.('')).toMatchObject({ status: 200, body: 'ok' });
  });
});

describe('createMetrics', () => {
  test("has kube-proxy's names and types", async () => {
    const text = await scrape(createMetrics('1.2.3'));
    const types = [...text.matchAll(/^# TYPE (kubeproxy_\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
    expect(types.toSorted()).toEqual([
      'kubeproxy_conntrack_reconciler_deleted_entries_total counter',
      'kubeproxy_conntrack_reconciler_sync_duration_seconds histogram',
      'kubeproxy_network_programming_duration_seconds histogram',
      'kubeproxy_proxy_healthz_total counter',
      'kubeproxy_proxy_livez_total counter',
      'kubeproxy_sync_full_proxy_rules_duration_seconds histogram',
      'kubeproxy_sync_partial_proxy_rules_duration_seconds histogram',
      'kubeproxy_sync_proxy_rules_duration_seconds histogram',
      'kubeproxy_sync_proxy_rules_endpoint_changes_total counter',
      'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total counter',
      'kubeproxy_sync_proxy_rules_iptables_restore_failures_total counter',
      'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge',
      'kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge',
      'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total counter',
      'kubeproxy_sync_proxy_rules_nftables_sync_failures_total counter',
      'kubeproxy_sync_proxy_rules_service_changes_total counter',
    ]);
  });

  test('counts with the labels of kube-proxy', async () => {
    const metrics = createMetrics('1.2.3');
    metrics.healthzProbes.inc({ code: '200' });
    metrics.syncSeconds.observe({ ip_family: 'IPv4' }, 0.0015);
    metrics.iptablesRestoreFailures.inc({ ip_family: 'IPv4' }, 12);
    const text = await scrape(metrics);
    expect(text).toContain('kubeproxy_proxy_healthz_total{code="200"} 1\n');
    expect(text).toContain('kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.002",ip_family="IPv4"} 1\n');
    expect(text).toContain('kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="16.384",ip_family="IPv4"} 1\n');
    expect(text).toContain('kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"} 12\n');
    expect(findExpositionProblems(text)).toEqual([]);
  });

  test('reads the process when it is asked', async () => {
    const text = await scrape(createMetrics('1.2.3'));
    const value = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
    expect(value('process_resident_memory_bytes')).toBeGreaterThan(10_000_000);
    expect(value('process_cpu_seconds_total')).toBeGreaterThan(0);
    expect(value('process_start_time_seconds')).toBeLessThan(Date.now() / 1000);
  });

  test('two calls share nothing', async () => {
    const [first, second] = [createMetrics('1.2.3'), createMetrics('1.2.3')];
    first.serviceChanges.inc(5);
    expect(await scrape(second)).toContain('kubeproxy_sync_proxy_rules_service_changes_total 0\n');
  });
});
