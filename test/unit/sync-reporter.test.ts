import { describe, expect, it } from 'vitest';

import { describeFailure } from '../../src/backends/iptables/tools.ts';
import { unserved } from '../../src/backends/iptables/unserved.ts';

import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { SyncHealth } from '../../src/http/health-state.ts';
import { ExecError } from '../../src/linux/exec.ts';
import { createLogger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import { SyncReporter } from '../../src/sync-reporter.ts';
import type { Service } from '../../src/watch/objects.ts';
import { service, snapshot } from '../fakes/objects.ts';

function start(more: Partial<ConstructorParameters<typeof SyncReporter>[0]['backend']> = {}) {
  const lines: { level: string; msg: string }[] = [];
  const log = createLogger({ level: 'debug', destination: { write: line => void lines.push(JSON.parse(line)) } });
  const health = new SyncHealth({
    families: ['IPv4'],
    syncPeriodMs: () => 1000,
    source: () => ({ awaited: [], lastContactMs: undefined }),
    now: () => 0,
  });
  const backend = { mode: 'iptables' as const, describeError: describeFailure, ...more };
  const reporter = new SyncReporter({ family: 'IPv4', backend, health, metrics: createMetrics('0.0.0'), log });
  return { reporter, health, messages: () => lines.splice(0).map(({ level, msg }) => `${level} ${msg}`) };
}

const node = { name: 'node-a', zone: '' };
const empty = emptyModel('IPv4', node);
const modelOf = (...services: Service[]) => {
  const snap = snapshot(services);
  return updateModel(empty, snap, snap.services.keys(), node);
};

const report = (keys: readonly string[], isFull = true) => {
  const failures = keys.map(key => ({ key, error: new Error('no such match') }));
  return { cause: 'change' as const, isFull, changes: 4, failures, repaired: [], planMs: 1, applyMs: 1, queuedAtMs: 0 };
};

describe('SyncReporter', () => {
  it('names what the kernel refuses once, until that changes', () => {
    const { reporter, messages } = start();
    reporter.synced(report(['a', 'b']), empty);
    expect(messages()).toEqual(['error the kernel refused a and 1 more; the rest of what changed is programmed']);
    reporter.synced(report(['a', 'b']), empty);
    reporter.synced({ ...report([], false), changes: 0 }, empty);
    reporter.synced(report(['a', 'b']), empty);
    expect(messages()).toEqual([]);
    reporter.synced(report(['b']), empty);
    expect(messages()).toEqual(['error the kernel refused b; the rest of what changed is programmed']);
    reporter.synced(report([]), empty);
    expect(messages()).toEqual(['info all rules are programmed']);
    reporter.synced(report(['b']), empty);
    expect(messages()).toHaveLength(1);
  });

  it('says once that our rules cannot be read, and once that they can', () => {
    const { reporter, messages } = start();
    const unread = new Error('iptables-nft-save cannot print the table nat');
    for (const isFull of [true, false])
      reporter.synced({ ...report([], isFull), cause: 'drift', changes: 0, unread }, empty);
    expect(messages()).toEqual([
      'warn our rules cannot be read: iptables-nft-save cannot print the table nat; changes reach the kernel, drift is not seen',
    ]);
    reporter.synced({ ...report([]), cause: 'drift', changes: 0 }, empty);
    expect(messages()).toEqual(['info our rules can be read again']);
  });

  it('says what somebody else changed, and nothing of a look that found nothing', () => {
    const { reporter, messages } = start();
    reporter.synced({ ...report([]), cause: 'drift', changes: 0 }, empty);
    expect(messages()).toEqual([]);
    const repaired = ['nat/KUBE-MARK-MASQ', 'KUBE-SVC-XPGD46QRK7WJZT7O'];
    reporter.synced({ ...report([]), cause: 'drift', changes: 2, repaired }, empty);
    expect(messages()).toContain('warn 2 of our rules or chains were changed by somebody else: repaired');
  });

  it('names what a Service asks for and does not get once, until that changes', () => {
    const { reporter, messages } = start();
    const ranges = (range: string) =>
      modelOf(
        service({
          loadBalancerIngress: [{ ip: '192.0.2.1', ipMode: 'VIP' }],
          loadBalancerSourceRanges: [range],
        }),
      );
    reporter.planned(ranges('2001:db8::/32'));
    expect(messages()).toEqual([
      expect.stringMatching(/^warn Service default\/web:http\/TCP: spec\.loadBalancerSourceRanges: no range is IPv4, /),
    ]);
    reporter.planned(ranges('2001:db8:1::/48'));
    expect(messages()).toEqual([]);
    reporter.planned(modelOf(service()));
    reporter.planned(ranges('2001:db8::/32'));
    expect(messages()).toHaveLength(1);
  });

  it('says once what the backend does not do of what a Service asks for, beside what it was warned of', () => {
    const { reporter, messages } = start({ unserved });
    const hashed = modelOf(
      service({
        balancing: 'source-hash',
        endpointWeights: [{ cidr: '10.1.0.0/24', weight: 2 }],
        loadBalancerIngress: [{ ip: '192.0.2.1', ipMode: 'VIP' }],
        loadBalancerSourceRanges: ['2001:db8::/32'],
      }),
    );
    reporter.planned(hashed);
    reporter.planned(hashed);
    expect(messages()).toEqual([
      expect.stringMatching(
        /^warn Service default\/web:http\/TCP: spec\.loadBalancerSourceRanges: .*; annotation kproxy-ts\.dev\/load-balancing: needs the nftables mode; .*; annotation kproxy-ts\.dev\/endpoint-weights: needs the nftables mode; /,
      ),
    ]);
  });

  it('says once why syncs fail, until the reason changes or one succeeds', () => {
    const { reporter, messages } = start();
    const missing = new ExecError('iptables-nft-save -t nat', {
      exitCode: -1,
      stdout: '',
      stderr: '',
      isNotFound: true,
      isTimeout: false,
      cause: undefined,
    });
    const line = (why: string, level = 'error') =>
      `${level} rules could not be programmed; they stay as they were: ${why}`;
    const why = 'iptables-nft-save -t nat: no such program (Debian package iptables)';
    reporter.failed(missing, 250);
    reporter.failed(missing, 500);
    reporter.failed(new Error('other'), 1000);
    expect(messages()).toEqual([line(why), line(why, 'debug'), line('other')]);
    reporter.synced(report([]), emptyModel('IPv4', { name: '', zone: '' }));
    messages();
    reporter.failed(new Error('other'), 250);
    expect(messages()).toEqual([line('other')]);
  });

  it('is not ready after a failed sync, and is after the next one', () => {
    const { reporter, health } = start();
    reporter.failed(new Error('no such program'), 250);
    expect(health.missing()).toEqual([{ part: 'IPv4', reason: 'last sync failed: no such program' }]);
    reporter.synced(report([]), empty);
    expect(health.missing()).toEqual([]);
  });
});
