import { describe, expect, it, vi } from 'vitest';
import { udpClaims } from '../../../src/backends/iptables/udp-claims.ts';
import { ConntrackReconciler } from '../../../src/conntrack/reconciler.ts';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import type { Model } from '../../../src/endpoints/types.ts';
import { UDP } from '../../../src/linux/conntrack-messages.ts';
import { createMetrics } from '../../../src/metrics.ts';
import { FakeConntrack, udpFlow } from '../../fakes/conntrack.ts';
import { service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const node = { name: 'node-a', zone: '' };
const [a, b] = ['10.244.1.2', '10.244.2.2'];
const clusterIP = ['10.96.0.10', 53] as const;
const ports = [{ name: 'dns', protocol: 'UDP' as const, port: 53, nodePort: 0 }];

/** A node with one UDP Service; `set` gives it endpoints, as a sync does. */
function start() {
  const table = new FakeConntrack();
  const metrics = createMetrics('0.0.0');
  const log = { ...recordedLog(), debug: () => undefined };
  const reconciler = new ConntrackReconciler({
    family: 'IPv4',
    sweep: table.sweep,
    nodePortAddresses: () => address => address === '192.0.2.11',
    metrics,
    log,
  });
  let model: Model = emptyModel('IPv4', node);
  const plan = (addresses: readonly string[] | undefined) => {
    const slices = [
      slice({
        ports: [{ name: 'dns', protocol: 'UDP', port: 5353 }],
        endpoints: (addresses ?? []).map(ip => sliceEndpoint(ip)),
      }),
    ];
    const snap = snapshot(addresses === undefined ? [] : [service({ ports })], slices);
    const previous = model;
    model = updateModel(previous, snap, ['default/web'], node);
    reconciler.planned(previous, model);
  };
  const commit = ({ isWhole = false, isComplete = true } = {}) => reconciler.synced(model, { isWhole, isComplete });
  const set = (addresses: readonly string[] | undefined, how?: Parameters<typeof commit>[0]) => {
    plan(addresses);
    commit(how);
  };
  const left = () => table.flows.map(({ reply }) => reply.source);
  const quiet = () => new Promise<void>(resolve => setImmediate(resolve));
  return { table, metrics, log, reconciler, plan, commit, set, left, quiet };
}

describe('the reconciler', () => {
  it('deletes the flows of an endpoint that went, by one filtered dump, and counts them', async () => {
    const { table, metrics, set, left, quiet } = start();
    set([a, b], { isWhole: true });
    await quiet();
    table.flows = [
      udpFlow(clusterIP, [a, 5353]),
      udpFlow(clusterIP, [b, 5353]),
      udpFlow(['10.96.0.11', 53], [a, 5353]),
    ];
    table.dumps.length = 0;
    set([b]);
    await quiet();
    expect(left()).toEqual([b, a]);
    expect(table.dumps).toEqual([{ family: 'IPv4', protocol: UDP, replyPort: 5353 }]);
    const text = await metrics.registry.metrics();
    expect(text).toContain('kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 1');
    expect(text).toContain('kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"} 2');
  });

  it('asks nothing when no endpoint went', async () => {
    const { table, set, quiet } = start();
    set([a], { isWhole: true });
    await quiet();
    table.dumps.length = 0;
    set([a, b]);
    set([a, b]);
    await quiet();
    expect(table.dumps).toEqual([]);
  });

  it('deletes nothing before the rules are in the kernel', async () => {
    const { table, plan, commit, set, left, quiet } = start();
    set([a, b]);
    await quiet();
    table.flows = [udpFlow(clusterIP, [a, 5353])];
    plan([b]);
    await quiet();
    expect(left()).toEqual([a]);
    commit();
    await quiet();
    expect(left()).toEqual([]);
  });

  it('keeps the flows of an endpoint that comes back while it looks', async () => {
    const { table, plan, commit, set, left, quiet } = start();
    set([a, b]);
    await quiet();
    table.flows = [udpFlow(clusterIP, [a, 5353])];
    const { promise, resolve } = Promise.withResolvers<void>();
    table.gate = promise;
    set([b]);
    plan([a, b]);
    resolve();
    await quiet();
    expect(left()).toEqual([a]);
    commit();
    await quiet();
    expect(left()).toEqual([a]);
  });

  it('looks again after what changed while it looked', async () => {
    const { table, set, left, quiet } = start();
    set([a, b]);
    await quiet();
    table.flows = [udpFlow(clusterIP, [b, 5353]), udpFlow(clusterIP, [a, 5353])];
    const { promise, resolve } = Promise.withResolvers<void>();
    table.gate = promise;
    set([b]);
    set([]);
    resolve();
    await quiet();
    expect(left()).toEqual([]);
  });

  it('deletes the flows of a Service that lost its last endpoint, and of one that is gone', async () => {
    const { table, set, left, quiet } = start();
    set([a]);
    await quiet();
    table.flows = [udpFlow(clusterIP, [a, 5353])];
    set([]);
    await quiet();
    expect(left()).toEqual([]);
    set([a]);
    table.flows = [udpFlow(clusterIP, [a, 5353]), udpFlow(['10.96.0.99', 53], [a, 5353])];
    set(undefined);
    await quiet();
    expect(table.flows.map(({ original }) => original.destination)).toEqual(['10.96.0.99']);
  });

  it('deletes flows from before the Service was known, which no rule sent on', async () => {
    const { table, set, left, quiet } = start();
    table.flows = [udpFlow(clusterIP), udpFlow(['10.96.0.99', 53])];
    set([a]);
    await quiet();
    expect(left()).toEqual(['10.96.0.99']);
  });

  it('at a start knows Services that are gone by the rules that were found', async () => {
    const { table, reconciler, set, quiet } = start();
    const rules = [
      '-d 10.96.0.66/32 -p udp -m comment --comment "default/gone:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-A',
      '-d 10.96.0.67/32 -p tcp -m comment --comment "default/gone:dns-tcp cluster IP" -m tcp --dport 53 -j KUBE-SVC-B',
    ].map(rule => ({ kind: 'rule' as const, table: 'nat' as const, chain: 'KUBE-SERVICES', rule }));
    const nodePort = '-p udp -m comment --comment "default/gone:dns" -m udp --dport 30053 -j KUBE-EXT-A';
    const claims = [...udpClaims([...rules, { kind: 'rule', table: 'nat', chain: 'KUBE-NODEPORTS', rule: nodePort }])];
    expect(claims).toEqual(['10.96.0.66 53/UDP', 'nodePort 30053/UDP']);
    reconciler.found(claims);
    const kept = [udpFlow(['10.96.0.65', 53], [a, 5353]), udpFlow(clusterIP, [a, 5353])];
    table.flows = [udpFlow(['10.96.0.66', 53], [b, 5353]), udpFlow(['192.0.2.11', 30_053], [b, 5353]), ...kept];
    set([a], { isWhole: true });
    await quiet();
    expect(table.flows).toEqual(kept);
  });

  it('takes one dump for many claims', async () => {
    const { table, reconciler, set, quiet } = start();
    reconciler.found(['10.96.0.1 53/UDP', '10.96.0.2 53/UDP', '10.96.0.3 53/UDP', 'nodePort 30053/UDP']);
    set([a]);
    await quiet();
    expect(table.dumps).toEqual([{ family: 'IPv4', protocol: UDP }]);
  });

  it('tells an error once, and makes up for it at the next sync', async () => {
    const { table, log, set, left, quiet } = start();
    table.failure = new Error('IPCTNL_MSG_CT_GET: errno 1');
    set([a, b], { isWhole: true });
    await quiet();
    table.flows = [udpFlow(clusterIP, [a, 5353])];
    set([b]);
    await quiet();
    expect(log.lines).toEqual([
      'warn stale UDP flows cannot be deleted: IPCTNL_MSG_CT_GET: errno 1; trying again, the rules are not affected',
    ]);
    table.failure = undefined;
    set([b]);
    await quiet();
    expect(left()).toEqual([]);
    expect(log.lines.slice(1)).toEqual([
      'info stale UDP flows can be deleted again',
      'info deleted 1 conntrack entries of UDP clients whose endpoint is gone',
    ]);
  });

  it('tries again by itself when nothing else happens', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const { table, set, quiet } = start();
      table.failure = new Error('no');
      set([a]);
      await quiet();
      table.failure = undefined;
      await vi.advanceTimersByTimeAsync(30_000);
      await quiet();
      expect(table.dumps).toHaveLength(2);
    } finally {
      vi.useRealTimers();
    }
  });

  it('looks again after a sync in which the kernel refused something', async () => {
    const { table, set, left, quiet } = start();
    set([a, b]);
    await quiet();
    set([b], { isComplete: false });
    await quiet();
    // The refused rules still send there.
    table.flows = [udpFlow(clusterIP, [a, 5353])];
    set([b]);
    await quiet();
    expect(left()).toEqual([]);
  });

  it('deletes nothing more once it is paused', async () => {
    const { table, reconciler, set, left, quiet } = start();
    set([a, b]);
    await quiet();
    table.flows = [udpFlow(clusterIP, [a, 5353])];
    const { promise, resolve } = Promise.withResolvers<void>();
    table.gate = promise;
    set([b]);
    const paused = reconciler.pause();
    resolve();
    await paused;
    await quiet();
    expect(left()).toEqual([a]);
  });
});
