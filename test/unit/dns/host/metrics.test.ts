import { describe, expect, test } from 'vitest';
import { addDnsMetrics } from '../../../../src/dns/host/metrics.ts';
import { createMetrics } from '../../../../src/metrics.ts';
import { findExpositionProblems } from '../../http/exposition.ts';
import { NodeDnsLab, WEB } from './node-dns-lab.ts';

/** The lines that are about names. */
const ofDns = (text: string) => text.split('\n').filter(line => line.includes('kproxy_dns_'));

function scrapeOf(lab: NodeDnsLab): Promise<string> {
  const { registry } = createMetrics('1.0.0');
  addDnsMetrics(registry, () => lab.dns.readings());
  return registry.metrics();
}

describe('metrics', () => {
  test('are text that Prometheus takes, with a name of ours and HELP each', async () => {
    await using lab = await NodeDnsLab.startSynced({ workers: 2, upstreams: ['127.0.0.1:9'] });
    expect(await lab.ask(WEB)).toBe('10.96.0.10');
    expect(await lab.ask('nope.default.svc.cluster.local')).toBe('NXDOMAIN');
    expect(await lab.ask('example.com')).toBe('SERVFAIL');
    const text = await scrapeOf(lab);
    expect(findExpositionProblems(text)).toEqual([]);
    const names = ofDns(text).flatMap(line => /^# TYPE (\S+)/.exec(line)?.[1] ?? []);
    expect(names.length).toBeGreaterThan(30);
    expect(names.filter(name => !name.startsWith('kproxy_dns_'))).toEqual([]);
    expect(text).toContain('\nkproxy_dns_requests_total{proto="udp",family="1",type="A"} 3\n');
    expect(text).toContain('\nkproxy_dns_responses_total{rcode="NXDOMAIN"} 1\n');
    expect(text).toMatch(/\nkproxy_dns_forward_failures_total\{to="127\.0\.0\.1:9"\} [1-9]/);
    expect(text).toContain('\nkproxy_dns_workers 2\n');
    expect(text).toContain('\nkproxy_dns_tcp_connections 0\n');
  });

  test('are there while a worker is dead, of the others, and count it', async () => {
    const { registry } = createMetrics('1.0.0');
    const times = addDnsMetrics(registry, async () => lab.dns.readings());
    await using lab = await NodeDnsLab.startSynced({ workers: 2 }, times);
    await lab.workers[0]?.terminate();
    const text = await registry.metrics();
    expect(text).toContain('\nkproxy_dns_workers 1\n');
    expect(text).toContain('\nkproxy_dns_worker_deaths_total 1\n');
  });

  test('have no values where no names are answered', async () => {
    await using lab = await NodeDnsLab.start({ enabled: false });
    const text = await scrapeOf(lab);
    expect(findExpositionProblems(text)).toEqual([]);
    expect(ofDns(text).filter(line => line.startsWith('kproxy_dns_workers'))).toEqual([]);
  });
});
