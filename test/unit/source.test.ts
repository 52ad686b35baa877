import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { defaultConfiguration } from '../../src/config/load.ts';
import { type ApiServer, startApiServer } from '../../src/lab/apiserver/server.ts';
import { Store as ClusterStore } from '../../src/lab/apiserver/store.ts';
import { createLogger } from '../../src/log.ts';
import { ClusterSource } from '../../src/source.ts';
import { Store } from '../../src/watch/store.ts';

const { configuration } = defaultConfiguration();
let directory = '';
let servers: ApiServer[];
let store: Store;
let source: ClusterSource | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kpx-source-'));
  servers = [];
  store = new Store();
});
afterEach(async () => {
  await source?.[Symbol.asyncDispose]();
  source = undefined;
  for (const server of servers) await server.close();
  rmSync(directory, { recursive: true });
});

/** A cluster with these Services: the path of a kubeconfig for it, and how many watches its server has. */
async function startCluster(name: string, services: readonly string[]) {
  const cluster = new ClusterStore();
  for (const service of services)
    cluster.create('services', 'default', { metadata: { name: service }, spec: { ports: [{ port: 80 }] } });
  const server = await startApiServer({ host: '127.0.0.1', port: 0, store: cluster, freshnessWaitMs: 20 });
  servers.push(server);
  const kubeconfigPath = join(directory, name);
  writeFileSync(
    kubeconfigPath,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server: server.url } }],
      contexts: [{ name, context: { cluster: name, user: '' } }],
      'current-context': name,
    }),
  );
  return { kubeconfigPath, cluster };
}

async function start(kubeconfigPath: string): Promise<ClusterSource> {
  source = await ClusterSource.start({
    optional: () => [],
    configuration: { ...configuration, kubeconfigPath },
    source: undefined,
    nodeName: 'a',
    version: '0.0.0',
    store,
    log: createLogger({ level: 'fatal' }),
  });
  await store.synced;
  return source;
}

const names = () => [...store.snapshot.services.keys()].toSorted();

describe('ClusterSource', () => {
  test('goes over to another cluster: what that has too never goes, what it lacks goes when it was listed', async () => {
    const one = await startCluster('one', ['both', 'old']);
    const two = await startCluster('two', ['both', 'new']);
    const running = await start(one.kubeconfigPath);
    expect(names()).toEqual(['default/both', 'default/old']);
    const gone: string[] = [];
    store.onDirty(({ services }) => {
      for (const key of services) if (!store.snapshot.services.has(key)) gone.push(key);
    });
    await running.configure({ ...configuration, kubeconfigPath: two.kubeconfigPath });
    await vi.waitFor(() => expect(names()).toEqual(['default/both', 'default/new']), { interval: 5, timeout: 5000 });
    expect(gone).toEqual(['default/old']);
    // The first cluster's events are no longer ours.
    one.cluster.create('services', 'default', { metadata: { name: 'late' }, spec: { ports: [{ port: 80 }] } });
    two.cluster.create('services', 'default', { metadata: { name: 'mark' }, spec: { ports: [{ port: 80 }] } });
    await vi.waitFor(() => expect(names()).toContain('default/mark'), { interval: 5, timeout: 5000 });
    expect(names()).not.toContain('default/late');
    expect(running.stats?.Service.isConnected).toBe(true);
  });

  test('a kubeconfig that cannot be read is refused, and the source goes on', async () => {
    const one = await startCluster('one', ['a']);
    const running = await start(one.kubeconfigPath);
    await expect(running.configure({ ...configuration, kubeconfigPath: join(directory, 'none') })).rejects.toThrow(
      'none',
    );
    one.cluster.create('services', 'default', { metadata: { name: 'b' }, spec: { ports: [{ port: 80 }] } });
    await vi.waitFor(() => expect(names()).toEqual(['default/a', 'default/b']), { interval: 5, timeout: 5000 });
  });

  test('a change of something else asks the API server nothing', async () => {
    const one = await startCluster('one', ['a']);
    const running = await start(one.kubeconfigPath);
    const before = running.stats;
    await running.configure({ ...configuration, kubeconfigPath: one.kubeconfigPath, oomScoreAdj: 1 });
    expect(running.stats?.Service.relists).toBe(before?.Service.relists);
    expect(running.stats?.Service.lastContactMs).toBeGreaterThan(0);
  });
});
