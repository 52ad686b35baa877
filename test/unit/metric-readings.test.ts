import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { addModelMetrics, addWatchMetrics } from '../../src/metric-readings.ts';
import type { ReflectorStats } from '../../src/watch/reflector-stats.ts';
import { service, slice, snapshot } from '../fakes/objects.ts';
import { findExpositionProblems } from './http/exposition.ts';

test('endpoints are counted in the Models of the moment', async () => {
  const registry = new Registry();
  const facts = { name: 'node-a', zone: '' };
  let model = emptyModel('IPv4', facts);
  addModelMetrics(registry, () => [model]);
  expect(await registry.metrics()).toContain('kproxy_endpoints{ip_family="IPv4"} 0\n');
  model = updateModel(model, snapshot([service()], [slice()]), ['default/web'], facts);
  const text = await registry.metrics();
  expect(text).toContain('kproxy_endpoints{ip_family="IPv4"} 2\n');
  expect(findExpositionProblems(text)).toEqual([]);
});

test('a watch shows when its server was last heard of, once it was, and how often everything was listed again', async () => {
  const registry = new Registry();
  const never: ReflectorStats = { isConnected: false, lastContactMs: 0, relists: 0, failures: 0, resourceVersion: '' };
  let stats = { Service: never, EndpointSlice: never, Node: never };
  addWatchMetrics(registry, {
    get stats() {
      return stats;
    },
  });
  expect(await registry.metrics()).not.toContain('kproxy_watch_last_contact_timestamp_seconds{');
  stats = { ...stats, Service: { ...never, lastContactMs: 1_700_000_000_500, relists: 2 } };
  for (let scrape = 1; scrape <= 2; scrape += 1) {
    const text = await registry.metrics();
    expect(text).toContain('kproxy_watch_last_contact_timestamp_seconds{kind="Service"} 1700000000.5\n');
    expect(text).not.toContain('kproxy_watch_last_contact_timestamp_seconds{kind="Node"}');
    expect(text).toContain('kproxy_watch_relists_total{kind="Service"} 2\n');
    expect(text).toContain('kproxy_watch_relists_total{kind="Node"} 0\n');
    expect(findExpositionProblems(text)).toEqual([]);
  }
});
