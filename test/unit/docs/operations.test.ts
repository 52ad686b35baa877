import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { addDnsMetrics } from '../../../src/dns/host/metrics.ts';
import { projectDir } from '../../../src/lab/install.ts';

const page = readFileSync(join(projectDir, 'docs/operations.md'), 'utf8');
const sources = readdirSync(join(projectDir, 'src'), { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts') && !name.startsWith('lab/'))
  .map(name => readFileSync(join(projectDir, 'src', name), 'utf8'))
  .join('\n');

/** The log lines that the page explains. */
const explained = [...page.matchAll(/^\| (`[^|]+`) +\|/gm)]
  .flatMap(([, cell = '']) => [...cell.matchAll(/`([^`]+)`/g)].map(([, line = '']) => line))
  .filter(line => line.includes(' '));

/** What is the same in every such line. */
function fixedParts(line: string): string[] {
  const parts = line.split(/…|FILE|SERVICE|IPv4 and IPv6|^IPv6|^Service(?: \S+)?:/);
  return parts.map(part => part.replaceAll(/^[\s;)]+|[\s;(]+$/g, '')).filter(part => part.length > 1);
}

test('the page explains more than a handful of log lines', () => {
  expect(explained.length).toBeGreaterThan(12);
});

test.each(explained)('the daemon still says: %s', line => {
  expect(fixedParts(line).filter(part => !sources.includes(part))).toEqual([]);
});

test('each metric that the page names is served', () => {
  const names = [...page.matchAll(/`((?:kproxy|kubeproxy)_\w+)`/g)].map(([, name = '']) => name);
  expect(names.length).toBeGreaterThan(3);
  const registry = new Registry();
  addDnsMetrics(registry, async () => []);
  const ofNames = new Set(registry.getMetricsAsArray().map(({ name }) => name));
  // Some are put together from their parts.
  const isServed = (name: string) =>
    name.startsWith('kproxy_dns_')
      ? ofNames.has(name)
      : sources.includes(name.replace(/^kubeproxy_sync_proxy_rules_/, '').replace(/^(kproxy_service_).*$/, '$1'));
  expect(names.filter(name => !isServed(name))).toEqual([]);
});
