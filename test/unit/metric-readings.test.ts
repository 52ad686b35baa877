import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import {
  addElementMetrics,
  addModelMetrics,
  addPendingMetrics,
  addRuleMetrics,
  addWatchMetrics,
  type PacketCounts,
} from '../../src/metric-readings.ts';
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

test('no_local_endpoints_total has a value for each policy and family', async () => {
  const registry = new Registry();
  addModelMetrics(registry, () => [emptyModel('IPv6', { name: 'node-a', zone: '' })]);
  const text = await registry.metrics();
  for (const policy of ['internal', 'external']) {
    const labels = `traffic_policy="${policy}",ip_family="IPv6"`;
    expect(text).toContain(`kubeproxy_sync_proxy_rules_no_local_endpoints_total{${labels}} 0\n`);
  }
});

test('of what waits in two families the larger number shows', async () => {
  const registry = new Registry();
  const families = [
    { services: 3, endpoints: 1 },
    { services: 0, endpoints: 2 },
  ];
  addPendingMetrics(registry, families);
  expect(await registry.metrics()).toContain('kubeproxy_sync_proxy_rules_service_changes_pending 3\n');
  expect(await registry.metrics()).toContain('kubeproxy_sync_proxy_rules_endpoint_changes_pending 2\n');
});

test('rules by table and family once a sync has finished, and packets of both families, read once a scrape', async () => {
  const registry = new Registry();
  let packets: PacketCounts | undefined = { invalidDropped: 4 };
  let looks = 0;
  const total = { filter: 7, nat: 325 };
  addRuleMetrics(registry, [
    {
      family: 'IPv4',
      ruleCounts: () => ({ total, last: { filter: 0, nat: 3 } }),
      packetCounts: async () => {
        looks += 1;
        return packets;
      },
    },
    { family: 'IPv6', ruleCounts: () => undefined, packetCounts: async () => ({ invalidDropped: 1 }) },
  ]);
  const text = await registry.metrics();
  expect(looks).toBe(1);
  expect(text).toContain('kubeproxy_sync_proxy_rules_iptables_total{table="nat",ip_family="IPv4"} 325\n');
  expect(text).toContain('kubeproxy_sync_proxy_rules_iptables_last{table="nat",ip_family="IPv4"} 3\n');
  expect(text).not.toContain('iptables_total{table="nat",ip_family="IPv6"}');
  expect(text).toContain('kubeproxy_iptables_ct_state_invalid_dropped_packets_total 5\n');
  expect(text).toContain('kubeproxy_iptables_localhost_nodeports_accepted_packets_total 0\n');
  expect(findExpositionProblems(text)).toEqual([]);
  packets = undefined;
  expect(await registry.metrics()).toContain('kubeproxy_iptables_ct_state_invalid_dropped_packets_total 5\n');
});

test('elements by set and family, in the mode that has them', async () => {
  const registry = new Registry();
  let counts: ReadonlyMap<string, number> | undefined;
  addElementMetrics(registry, [
    { family: 'IPv4', elementCounts: () => counts },
    { family: 'IPv6', elementCounts: () => undefined },
  ]);
  expect(await registry.metrics()).not.toContain('kproxy_nftables_elements{');
  counts = new Map([['services', 3]]);
  const text = await registry.metrics();
  expect(text).toContain('kproxy_nftables_elements{set="services",ip_family="IPv4"} 3\n');
  expect(text).not.toContain('IPv6');
  expect(findExpositionProblems(text)).toEqual([]);
  counts = undefined;
  expect(await registry.metrics()).toContain('kproxy_nftables_elements{set="services",ip_family="IPv4"} 3\n');
});
