import { afterEach, describe, expect, it } from 'vitest';
import type { Configuration } from '../../src/config/configuration.ts';
import { defaultConfiguration } from '../../src/config/load.ts';
import { daemonDump } from '../../src/dump/from-model.ts';
import { FamilyProxy } from '../../src/family-proxy.ts';
import { SyncHealth } from '../../src/http/health-state.ts';
import { createLogger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import type { Programmed } from '../../src/sync-follower.ts';
import { Store } from '../../src/watch/store.ts';
import { createMemoryBackend, type MemoryKernel } from '../fakes/memory-backend.ts';
import { service } from '../fakes/objects.ts';

const defaults = defaultConfiguration({ 'cluster-cidr': '10.244.0.0/16' }).configuration;

const proxies: FamilyProxy<string>[] = [];
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.close();
});

function start(plan: readonly (readonly [string, string])[] = []) {
  const kernel: MemoryKernel = { plan: new Map(plan), calls: [] };
  const lines: string[] = [];
  const log = createLogger({ level: 'info', destination: { write: line => void lines.push(JSON.parse(line).msg) } });
  const store = new Store();
  const health = new SyncHealth({
    families: ['IPv4'],
    syncPeriodMs: () => 1000,
    source: () => ({ awaited: [], lastContactMs: undefined }),
    now: () => 0,
  });
  const found: string[] = [];
  const programmed: Programmed[] = [];
  const follower = {
    found: (udpClaims: Iterable<string>) => void found.push(...udpClaims),
    pulled: () => undefined,
    synced: (now: Programmed) => void programmed.push(now),
    paused: () => undefined,
  };
  const proxy = new FamilyProxy({
    family: 'IPv4',
    backend: createMemoryBackend(kernel),
    configuration: defaults,
    nodeName: 'node-a',
    store,
    health,
    metrics: createMetrics('0.0.0'),
    log,
    compactHeap: () => undefined,
    followers: [follower],
    tidy: async () => void kernel.calls.push('tidy others'),
  });
  proxies.push(proxy);
  store.onDirty(dirty => proxy.note(dirty));
  store.upsert('Service', service());
  const settled = async () => {
    await expect.poll(() => health.families().get('IPv4'), { interval: 2 }).toMatchObject({ lastUpdatedMs: 0 });
    await expect.poll(() => health.families().get('IPv4'), { interval: 2 }).not.toHaveProperty('pendingSinceMs');
  };
  return { proxy, kernel, settled, found, programmed, messages: () => lines.splice(0) };
}

describe('FamilyProxy in a mode that has only what a mode must have', () => {
  it('programs, and only then takes away what is left of this and of other modes', async () => {
    const { proxy, kernel, settled, found, programmed } = start([['service default/gone:http', '10.96.0.99:80']]);
    proxy.start();
    await settled();
    expect(Object.fromEntries(kernel.plan)).toEqual({
      options: 'all=false ports=all',
      'service default/web:http': '10.96.0.10:80',
    });
    await expect.poll(() => kernel.calls, { interval: 2 }).toEqual(['read', 'apply', 'tidy', 'tidy others']);
    expect(found).toEqual(['claim of service default/gone:http']);
    expect(programmed[0]).toMatchObject({ nodePortAddresses: 'all', hasLocalhostNodePorts: false });
  });

  it('takes options and periods from its own section of the configuration', async () => {
    const { proxy, kernel, settled, messages } = start();
    proxy.start();
    await settled();
    messages();
    const other: Configuration = { ...defaults, iptables: { ...defaults.iptables, masqueradeAll: true } };
    proxy.configure(other);
    expect(messages()).toEqual([]);
    proxy.configure({ ...other, nftables: { ...defaults.nftables, masqueradeAll: true } });
    await settled();
    expect(kernel.plan.get('options')).toBe('all=true ports=all');
    expect(messages()).toEqual(['masqueradeAll: false → true', 'all rules are programmed']);
  });

  it('has no counts that the mode has none of', async () => {
    const { proxy, settled } = start();
    proxy.start();
    await settled();
    expect(proxy.ruleCounts()).toBeUndefined();
    expect(await proxy.packetCounts()).toEqual({});
    proxy.configure({ ...defaults, hasServiceMetrics: true });
    expect(await proxy.serviceCounts()).toEqual([]);
  });

  it('is dumped', async () => {
    const { proxy, kernel, settled } = start();
    proxy.start();
    await settled();
    kernel.plan.set('service default/web:http', '10.96.0.66:80').set('else', 'what');
    const families = [{ family: proxy.family, ...(await proxy.observe()) }];
    const dump = await daemonDump({ node: 'node-a', mode: 'nftables', families, pause: async () => undefined });
    const [family] = dump.families;
    expect(family?.services.map(({ name, state, rules }) => ({ name, state, rules }))).toEqual([
      {
        name: 'web',
        state: 'differs',
        rules: [
          { table: 'memory', chain: 'texts', rule: '10.96.0.10:80', state: 'missing' },
          { table: 'memory', chain: 'texts', rule: '10.96.0.66:80', state: 'unexpected' },
        ],
      },
    ]);
    expect(family?.shared).toMatchObject({
      state: 'differs',
      rules: [{ state: 'ok' }, { rule: 'what', state: 'unexpected' }],
    });
  });

  it('ends its backend', async () => {
    const { proxy, kernel } = start();
    await proxy.close();
    expect(kernel.calls).toEqual(['close']);
  });
});
