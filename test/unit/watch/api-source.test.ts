import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ApiServer, type ApiServerOptions, startApiServer } from '../../../src/lab/apiserver/server.ts';
import { Store as ClusterStore } from '../../../src/lab/apiserver/store.ts';
import { ModelFeed } from '../../../src/model-feed.ts';
import { type ApiSource, type ApiSourceOptions, startApiSource } from '../../../src/watch/api-source.ts';
import type { Clock } from '../../../src/watch/clock.ts';
import { anonymousKubeConfig } from '../../../src/watch/kubeconfig.ts';
import { Store } from '../../../src/watch/store.ts';
import { TRIMMERS } from '../../../src/watch/trim.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const SPEED = 100;
/** Time that runs a hundred times faster: the first retry comes after 8 ms. */
const fastClock: Clock = {
  now: () => (performance.timeOrigin + performance.now()) * SPEED,
  after(ms, callback) {
    const timer = setTimeout(callback, ms / SPEED);
    return () => clearTimeout(timer);
  },
};

let cluster: ClusterStore;
let server: ApiServer;
let store: Store;
let source: ApiSource;
let log: ReturnType<typeof recordedLog>;

async function startServer(options: Partial<ApiServerOptions> = {}): Promise<void> {
  server = await startApiServer({ host: '127.0.0.1', port: 0, store: cluster, freshnessWaitMs: 20, ...options });
}
async function startSource(options: Partial<ApiSourceOptions> = {}): Promise<void> {
  store = new Store();
  log = recordedLog();
  const { signal } = new AbortController();
  const url = options.server ?? server.url;
  source = await startApiSource({ store, log, clock: fastClock, signal, ...options, server: url });
}
beforeEach(async () => {
  cluster = new ClusterStore();
  await startServer();
});
afterEach(async () => {
  await source?.[Symbol.asyncDispose]();
  await server.close();
});

const serviceInput = (name: string, port = 80) => ({ metadata: { name }, spec: { ports: [{ port }] } });
const sliceInput = (name: string, serviceName: string, address: string) => ({
  metadata: { name, labels: { 'kubernetes.io/service-name': serviceName } },
  addressType: 'IPv4',
  endpoints: [{ addresses: [address] }],
  ports: [{ port: 80 }],
});

/** What the server has, trimmed, in the shape of contents(). */
function expected() {
  const services = cluster.list('services').map(raw => TRIMMERS.Service(raw).object);
  const slices = cluster.list('endpointslices').map(raw => TRIMMERS.EndpointSlice(raw).object);
  const nodes = cluster.list('nodes').map(raw => TRIMMERS.Node(raw).object);
  return [services, slices, nodes].map(list => list.map(object => JSON.stringify(object)).toSorted());
}
function contents() {
  const { services, slices, nodes } = store.snapshot;
  const allSlices = [...slices.values()].flatMap(list => [...list.values()]);
  return [[...services.values()], allSlices, [...nodes.values()]].map(list =>
    list.map(object => JSON.stringify(object)).toSorted(),
  );
}
/** Resolves when the store has what the server has; fails by the test's timeout. */
async function convergence(): Promise<void> {
  while (JSON.stringify(contents()) !== JSON.stringify(expected())) {
    await new Promise<void>(resolve => {
      const stop = store.onDirty(() => {
        stop();
        resolve();
      });
    });
  }
}

const DISTURBANCES = [
  ...['delete', 'deleteSlice', 'drop', 'end', 'compact', 'breathe'],
  ...['cut', 'break', 'expire', 'refuse', 'slow', 'stall'],
] as const;

describe('against the embedded API server', () => {
  it('three kinds arrive and are followed', async () => {
    cluster.create('services', 'default', serviceInput('web'));
    cluster.create('endpointslices', 'default', sliceInput('web-1', 'web', '10.0.0.1'));
    cluster.create('nodes', '', { metadata: { name: 'n1' } });
    await startSource();
    await store.synced;
    expect(contents()).toEqual(expected());
    cluster.update('services', 'default', 'web', {
      ...cluster.get('services', 'default', 'web'),
      ...serviceInput('web', 81),
    });
    cluster.delete('endpointslices', 'default', 'web-1');
    cluster.create('endpointslices', 'default', sliceInput('web-2', 'web', '10.0.0.2'));
    await convergence();
    expect(source.stats).toMatchObject({ Service: { relists: 0, failures: 0 }, Node: { isConnected: true } });
    expect(log.lines.filter(line => !line.startsWith('info'))).toEqual([]);
  });

  it('Namespaces that we may not list are taken for none, Services are known all the same, and Pods that nobody asked for are not listed', async () => {
    server.refuse({ status: 403, path: '/api/v1/namespaces' });
    cluster.create('services', 'default', serviceInput('web'));
    await startSource({ optional: ['Namespace'] });
    await Promise.all([store.synced, store.listed('Namespace')]);
    expect([...store.snapshot.services.keys()]).toContain('default/web');
    expect([store.snapshot.namespaces.size, store.hasListed('Namespace'), store.hasListed('Pod')]).toEqual([
      0,
      true,
      false,
    ]);
    expect(log.lines.filter(line => line.includes('Namespace: we may not list it'))).toHaveLength(1);
  });

  it('ServiceCIDRs are followed when asked for', async () => {
    const range = (name: string, ...cidrs: string[]) => ({ metadata: { name }, spec: { cidrs } });
    const until = (cidrs: readonly string[]) =>
      vi.waitFor(() => expect(store.snapshot.serviceCIDRs).toEqual(cidrs), { interval: 5 });
    cluster.create('servicecidrs', '', range('kubernetes', '10.96.0.0/16', 'fd00:96::/112'));
    await startSource({ optional: ['ServiceCIDR'] });
    await until(['10.96.0.0/16', 'fd00:96::/112']);
    cluster.create('servicecidrs', '', range('more', '10.112.0.0/16'));
    await until(['10.112.0.0/16', '10.96.0.0/16', 'fd00:96::/112']);
    cluster.delete('servicecidrs', '', 'kubernetes');
    await until(['10.112.0.0/16']);
    expect(source.stats.ServiceCIDR).toMatchObject({ isConnected: true, failures: 0 });
    // A source that doesn't ask for them takes away what the one before it left.
    await source[Symbol.asyncDispose]();
    const { signal } = new AbortController();
    source = await startApiSource({ store, log, clock: fastClock, signal, server: server.url });
    expect(store.snapshot.serviceCIDRs).toEqual([]);
    expect(source.stats.ServiceCIDR).toBeUndefined();
  });

  it('a server without ServiceCIDRs keeps nobody waiting, and is not away', async () => {
    server.serveGroup('networking.k8s.io', false);
    cluster.create('services', 'default', serviceInput('web'));
    await startSource({ optional: ['ServiceCIDR'] });
    await store.synced;
    await vi.waitFor(() => expect(source.stats.ServiceCIDR).toBeUndefined());
    expect(source.failingSinceMs).toBe(0);
    expect(log.lines.filter(line => line.includes('ServiceCIDR'))).toEqual([
      'info ServiceCIDR: the server has none; taken for empty, asked again every 10 minutes (404 404 page not found)',
    ]);
    expect(log.lines.filter(line => !line.startsWith('info'))).toEqual([]);
  });

  it('a server that comes back with the same data goes on, without a list', async () => {
    cluster.create('services', 'default', serviceInput('a'));
    await startSource();
    await store.synced;
    const { port } = new URL(server.url);
    await server.close();
    cluster.create('services', 'default', serviceInput('b'));
    await startServer({ port: Number(port) });
    await convergence();
    expect(source.stats.Service).toMatchObject({ relists: 0 });
  });

  it('a server that comes back with older data is listed again', async () => {
    for (const name of ['a', 'b', 'c']) cluster.create('services', 'default', serviceInput(name));
    await startSource();
    await store.synced;
    const { port } = new URL(server.url);
    await server.close();
    cluster = new ClusterStore();
    cluster.create('services', 'default', serviceInput('a'));
    await startServer({ port: Number(port) });
    await convergence();
    expect(contents()[0]).toHaveLength(1);
  });

  it('a server that is not there yet is waited for', async () => {
    const { url } = server;
    const { port } = new URL(url);
    await server.close();
    await startSource({ server: url });
    cluster.create('services', 'default', serviceInput('a'));
    while (source.stats.Service.failures < 2) await new Promise(setImmediate);
    expect(store.isSynced).toBe(false);
    await startServer({ port: Number(port) });
    await store.synced;
    await convergence();
  });

  it('a server that falls silent without an end is noticed, and followed again when it speaks', async () => {
    await startSource();
    await store.synced;
    server.stall();
    cluster.create('services', 'default', serviceInput('a'));
    const noticed = () =>
      Object.values(source.stats).every(({ failures, isConnected }) => failures > 0 && !isConnected);
    while (!noticed()) await new Promise(setImmediate);
    expect(source.failingSinceMs).toBeGreaterThan(0);
    expect(log.lines.filter(line => line.startsWith('warn')).slice(0, 1)).toEqual([
      expect.stringMatching(/^warn \w+: silent for 60 s; trying again, what is known stays$/),
    ]);
    server.endFaults();
    await convergence();
    while (source.failingSinceMs > 0) await new Promise(setImmediate);
    expect(log.lines.some(line => line.startsWith('info the API server answers again after'))).toBe(true);
  }, 20_000);

  it('a bearer token is sent', async () => {
    await server.close();
    await startServer({ token: 'secret' });
    const kubeConfig = anonymousKubeConfig(server.url);
    kubeConfig.users = [{ name: 'anonymous', token: 'secret' }];
    store = new Store();
    log = recordedLog();
    const { signal } = new AbortController();
    source = await startApiSource({ kubeConfig, store, log, clock: fastClock, signal });
    await store.synced;
  });

  it('whatever happens to watches and history, the store becomes what the server has', async () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd');
    const step = fc.oneof(
      fc.record({ do: fc.constant('put' as const), name, port: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ do: fc.constant('slice' as const), name, port: fc.integer({ min: 1, max: 5 }) }),
      fc.record({
        do: fc.constantFrom(...DISTURBANCES),
        name,
        port: fc.constant(1),
      }),
    );
    const put = (kind: 'services' | 'endpointslices', key: string, input: object) => {
      const current = cluster.get(kind, 'default', key);
      if (current === undefined) cluster.create(kind, 'default', { metadata: { name: key }, ...input });
      else cluster.update(kind, 'default', key, { ...current, ...input });
    };
    const actions: Record<string, (key: string, port: number) => void | Promise<void>> = {
      put: (key, port) =>
        put('services', key, {
          spec: { ...(cluster.get('services', 'default', key)?.spec as object), ports: [{ port }] },
        }),
      slice: (key, port) => put('endpointslices', key, sliceInput(key, 'web', `10.0.0.${port}`)),
      delete: key => void (cluster.get('services', 'default', key) && cluster.delete('services', 'default', key)),
      deleteSlice: key =>
        void (cluster.get('endpointslices', 'default', key) && cluster.delete('endpointslices', 'default', key)),
      cut: () => server.cutWatches({ ending: 'end' }),
      break: () => server.cutWatches(),
      expire: () => server.expireWatches(),
      refuse: () => void server.refuse({ status: 503, retryAfterSeconds: 1, forMs: 5 }),
      slow: () => void server.slow({ delayMs: 2, forMs: 10 }),
      stall: () => void server.stall({ forMs: 10 }),
      drop: () => server.dropWatches(),
      end: () => server.endWatches(),
      compact: () => server.compact(),
      breathe: () => new Promise(resolve => setImmediate(resolve)),
    };
    await startSource();
    await store.synced;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async steps => {
        for (const { do: action, name: key, port } of steps) await actions[action]?.(key, port);
        await convergence();
      }),
      { numRuns: 12 },
    );
    // Whatever chance chose: nobody has seen the last change when history is forgotten.
    server.dropWatches();
    put('services', 'web', { spec: { ports: [{ port: 9 }] } });
    server.compact();
    await convergence();
    const relists = Object.values(source.stats).map(stats => stats.relists);
    expect(Math.max(...relists)).toBeGreaterThan(0);
    expect(log.lines.filter(line => line.startsWith('error'))).toEqual([]);
  }, 60_000);
});

/** Resolves when the store is so; fails by the test's timeout. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(setImmediate);
}

describe('endpoints', () => {
  const addresses = (...ips: string[]) => ips.map(ip => ({ ip }));
  const subset = (port: number, ...ips: string[]) => ({ addresses: addresses(...ips), ports: [{ port }] });
  const putEndpoints = (name: string, subsets: object[]) =>
    cluster.update('endpoints', 'default', name, { metadata: { name }, subsets });
  /** Each endpoint of each Service, as `name address:port`. */
  const served = () =>
    [...store.snapshot.slices]
      .flatMap(([key, slices]) =>
        [...slices.values()].flatMap(({ endpoints, ports }) =>
          endpoints.flatMap(({ addresses: [ip] }) => ports.map(({ port }) => `${key.slice(8)} ${ip}:${port}`)),
        ),
      )
      .toSorted();
  const line = (text: string) => log.lines.filter(one => one.includes(text)).length;

  beforeEach(async () => {
    putEndpoints('web', [subset(80, '10.0.0.1', '10.0.0.2'), subset(81, '10.0.0.3')]);
    putEndpoints('dns', [subset(53, '10.0.1.1')]);
    cluster.create('endpointslices', 'default', sliceInput('web-1', 'web', '10.0.0.9'));
    await server.close();
  });

  it('come from slices where the server has them, and that is said once', async () => {
    await startServer();
    await startSource();
    await store.synced;
    expect(served()).toEqual(['web 10.0.0.9:80']);
    server.compact();
    server.dropWatches();
    cluster.create('endpointslices', 'default', sliceInput('web-2', 'web', '10.0.0.8'));
    await convergence();
    expect(line('endpoints come from')).toBe(1);
    expect(line('endpoints come from EndpointSlice objects: the server has discovery.k8s.io/v1')).toBe(1);
  });

  it('come from Endpoints of a server without slices, through all changes and a relist', async () => {
    await startServer({ withoutGroups: ['discovery.k8s.io'] });
    await startSource();
    await store.synced;
    expect(line('endpoints come from Endpoints objects: the server has no discovery.k8s.io/v1')).toBe(1);
    const first = ['dns 10.0.1.1:53', 'web 10.0.0.1:80', 'web 10.0.0.2:80', 'web 10.0.0.3:81'];
    expect(served()).toEqual(first);
    putEndpoints('web', [subset(80, '10.0.0.1')]);
    await until(() => served().length === 2);
    expect(served()).toEqual(['dns 10.0.1.1:53', 'web 10.0.0.1:80']);
    cluster.delete('endpoints', 'default', 'dns');
    await until(() => served().length === 1);
    const before = store.snapshot.slices.get('default/web');
    putEndpoints('new', [subset(53, 'fd00::1', '10.0.1.1')]);
    server.compact();
    server.expireWatches({ path: '/api/v1/endpoints' });
    cluster.delete('endpoints', 'default', 'new');
    putEndpoints('other', [subset(53, 'fd00::1', '10.0.1.1')]);
    await until(() => source.stats.EndpointSlice.relists === 1);
    expect(served()).toEqual(['other 10.0.1.1:53', 'other fd00::1:53', 'web 10.0.0.1:80']);
    expect(store.snapshot.slices.get('default/web')).toBe(before);
    expect(store.problems()).toEqual([]);
    expect(log.lines.filter(one => !one.startsWith('info'))).toEqual([]);
  });

  it('make the same Model from either', async () => {
    cluster.create('services', 'default', serviceInput('web'));
    cluster.delete('endpointslices', 'default', 'web-1');
    const slice = (name: string, port: number, ...ips: string[]) => ({
      ...sliceInput(name, 'web', ''),
      endpoints: ips.map(ip => ({ addresses: [ip], nodeName: ip === '10.0.0.2' ? 'n1' : 'n2' })),
      ports: [{ port }],
    });
    cluster.create('endpointslices', 'default', slice('web-1', 80, '10.0.0.1', '10.0.0.2'));
    cluster.create('endpointslices', 'default', slice('web-2', 81, '10.0.0.3'));
    const withNode = (ip: string) => ({ ip, nodeName: ip === '10.0.0.2' ? 'n1' : 'n2' });
    putEndpoints('web', [
      { addresses: ['10.0.0.1', '10.0.0.2'].map(withNode), ports: [{ port: 80 }] },
      { addresses: ['10.0.0.3'].map(withNode), ports: [{ port: 81 }] },
    ]);
    await startServer();
    const models = [];
    for (const endpointsFrom of ['EndpointSlice', 'Endpoints'] as const) {
      await startSource({ endpointsFrom });
      await store.synced;
      const feed = new ModelFeed({ store, family: 'IPv4', nodeName: 'n1', onContest: () => undefined });
      models.push(feed.pull().routes);
      expect(line(`endpoints come from ${endpointsFrom} objects: as configured`)).toBe(1);
      await source[Symbol.asyncDispose]();
    }
    expect([...(models[0]?.values() ?? [])].flatMap(({ endpoints }) => endpoints)).toHaveLength(3);
    expect(models[1]).toEqual(models[0]);
  });

  it('follow a server that gets slices, or loses them, at the next complete list', async () => {
    await startServer({ withoutGroups: ['discovery.k8s.io'] });
    await startSource();
    await store.synced;
    server.serveGroup('discovery.k8s.io', true);
    putEndpoints('dns', []);
    await until(() => served().length === 3);
    server.expireWatches({ path: '/api/v1/endpoints' });
    await until(() => source.stats.EndpointSlice.relists === 1);
    expect(served()).toEqual(['web 10.0.0.9:80']);
    expect(line('endpoints come from EndpointSlice objects: the server has discovery.k8s.io/v1 now')).toBe(1);
    server.serveGroup('discovery.k8s.io', false);
    server.expireWatches({ path: '/apis/discovery.k8s.io' });
    await until(() => source.stats.EndpointSlice.relists === 2);
    expect(served()).toEqual(['web 10.0.0.1:80', 'web 10.0.0.2:80', 'web 10.0.0.3:81']);
  });

  it('stay with slices when nobody may ask for the group', async () => {
    await startServer();
    const end = server.refuse({ status: 403, path: '/apis/discovery.k8s.io' });
    await startSource();
    await until(() => source.stats.EndpointSlice.failures > 1);
    end();
    await store.synced;
    expect(served()).toEqual(['web 10.0.0.9:80']);
  });
});

it('only our own Node is watched when its name is known', async () => {
  cluster.create('nodes', '', { metadata: { name: 'n1' } });
  cluster.create('nodes', '', { metadata: { name: 'n2' } });
  await startSource({ nodeName: 'n1' });
  await store.synced;
  cluster.update('nodes', '', 'n2', { ...cluster.get('nodes', '', 'n2'), spec: { podCIDRs: ['10.0.2.0/24'] } });
  cluster.update('nodes', '', 'n1', { ...cluster.get('nodes', '', 'n1'), spec: { podCIDRs: ['10.0.1.0/24'] } });
  await until(() => store.snapshot.nodes.get('n1')?.podCIDRs.length === 1);
  expect([...store.snapshot.nodes.keys()]).toEqual(['n1']);
});

describe('a wrong start', () => {
  it('without a kubeconfig outside a cluster is an error', async () => {
    const { signal } = new AbortController();
    store = new Store();
    await expect(startApiSource({ store, log: recordedLog(), signal })).rejects.toThrow('no kubeconfig is given');
  });
});
