import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startEndpointSliceController } from '../../../src/lab/apiserver/endpointslice-controller.ts';
import { type ApiServer, startApiServer } from '../../../src/lab/apiserver/server.ts';
import { call, service, WatchReader } from './api-client.ts';

const path = '/api/v1/namespaces/default/configmaps';
let server: ApiServer;

beforeEach(async () => {
  server = await startApiServer({ host: '127.0.0.1', port: 0 });
});
afterEach(() => server.close());

const create = (name: string) => server.store.create('configmaps', 'default', { metadata: { name } });
const watch = (query = '') => WatchReader.open(server.url, `${path}?watch=1${query}`);
const list = (where = path) => call(server.url, where);
const namesOf = (body: { items: { metadata: { name: string } }[] }) => body.items.map(item => item.metadata.name);
/** Whether the promise is still open after the server has answered others that came later. */
async function isOpen(promise: Promise<unknown>): Promise<boolean> {
  let open = true;
  const settle = () => {
    open = false;
  };
  promise.then(settle, settle);
  for (let trip = 0; trip < 3; trip += 1) await list('/version');
  return open;
}

describe('a refusal', () => {
  test.each([
    [429, 7, 'TooManyRequests'],
    [500, undefined, 'InternalError'],
    [503, undefined, 'ServiceUnavailable'],
  ])('of %i meets every request until it ends, and no open watch', async (status, retryAfterSeconds, reason) => {
    const reader = await watch();
    const end = server.refuse({ status, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) });
    const refused = await list();
    expect(refused).toMatchObject({ status, body: { kind: 'Status', code: status, reason } });
    expect(refused.headers['retry-after']).toBe(retryAfterSeconds?.toString());
    expect((await list('/livez')).status).toBe(status);
    create('a');
    await reader.atLeast(1);
    expect(reader.summary).toEqual(['ADDED a']);
    end();
    end();
    expect((await list()).status).toBe(200);
    reader.close();
  });

  test('may be for some paths or clients only, or for a while', async () => {
    server.refuse({ status: 503, path: '/api/v1/services' });
    expect((await list()).status).toBe(200);
    expect((await list('/api/v1/services?limit=1')).status).toBe(503);
    server.refuse({ status: 500, userAgent: 'kproxy-ts' });
    expect((await list()).status).toBe(200);
    server.endFaults();
    server.refuse({ status: 503, forMs: 1 });
    while ((await list()).status !== 200);
  });
});

test('a slow server answers late', async () => {
  const end = server.slow({ delayMs: 1_000_000, path });
  expect(await isOpen(list())).toBe(true);
  end();
  server.slow({ delayMs: 1, path });
  expect((await list()).status).toBe(200);
});

describe('a stall', () => {
  test('holds requests and open watches back, and lets all go when it ends', async () => {
    const reader = await watch('&allowWatchBookmarks=true');
    const end = server.stall({ path });
    create('a');
    const listed = list();
    const watched = watch();
    expect(await isOpen(listed)).toBe(true);
    expect(await isOpen(watched)).toBe(true);
    expect(reader.lines).toEqual([]);
    end();
    expect(namesOf((await listed).body)).toEqual(['a']);
    await reader.atLeast(1);
    const late = await watched;
    await late.atLeast(1);
    expect([reader.summary, late.summary]).toEqual([['ADDED a'], ['ADDED a']]);
    for (const one of [reader, late]) one.close();
  });

  test('delays the end of watches too', async () => {
    const reader = await watch();
    const end = server.stall({ path });
    server.endWatches();
    expect(await isOpen(reader.ended)).toBe(true);
    end();
    expect(await reader.ended).toBe('end');
  });

  test('spares what it is not aimed at', async () => {
    const reader = await watch();
    server.stall({ path: '/api/v1/services' });
    create('a');
    await reader.atLeast(1);
    expect((await list()).status).toBe(200);
    reader.close();
  });
});

describe('a watch', () => {
  test.each(['break', 'end'] as const)('is cut in the middle of a line (%s)', async ending => {
    const reader = await watch();
    server.cutWatches({ ending });
    create('a');
    expect(await reader.ended).toBe(ending === 'break' ? 'aborted' : 'end');
    expect(reader.lines).toEqual([]);
    expect(reader.unfinished).toMatch(/^\{"type":"ADDED","object":\{"kind":"ConfigMap".*[^}]$/);
    expect(server.watchCount).toBe(0);
  });

  test('is sent 410 as an event', async () => {
    const reader = await watch();
    server.expireWatches();
    expect(await reader.ended).toBe('end');
    expect(reader.lines).toMatchObject([{ type: 'ERROR', object: { code: 410, reason: 'Expired' } }]);
  });

  test('is met only where the fault is aimed', async () => {
    const [here, there] = [await watch(), await WatchReader.open(server.url, '/api/v1/services?watch=1')];
    server.expireWatches({ path: '/api/v1/services' });
    expect(await there.ended).toBe('end');
    server.dropConnections({ path });
    expect(await here.ended).toBe('aborted');
  });
});

test('dropped connections break watches and requests under way', async () => {
  const reader = await watch();
  server.stall({ path });
  const listed = list().then(
    () => 'answered',
    () => 'broken',
  );
  await isOpen(listed);
  server.dropConnections();
  expect([await reader.ended, await listed]).toEqual(['aborted', 'broken']);
});

describe('a restore', () => {
  test('brings back objects, versions and addresses; connections break and listeners hear of it', async () => {
    const { store } = server;
    create('kept');
    create('changed');
    store.create('services', 'default', service('s', { clusterIP: '10.96.0.77' }));
    const snapshot = server.snapshot();
    const before = await list();
    store.update('configmaps', 'default', 'changed', { metadata: { name: 'changed' }, data: { a: 'b' } });
    create('later');
    store.delete('services', 'default', 's');
    store.create('services', 'default', service('taker', { clusterIP: '10.96.0.77' }));
    const reader = await watch();
    const heard: string[] = [];
    store.subscribe('configmaps', ({ type, current }) => heard.push(`${type} ${current.key}`));
    server.restore(snapshot);
    expect(await reader.ended).toBe('aborted');
    expect((await list()).body).toEqual(before.body);
    expect(heard.toSorted()).toEqual(['DELETED default/later', 'MODIFIED default/changed']);
    expect(store.revision).toBe(snapshot.revision);
    expect(store.list('services').map(({ metadata }) => metadata.name)).toEqual(['s']);
    expect(() => store.create('services', 'default', service('again', { clusterIP: '10.96.0.77' }))).toThrow();
    store.delete('services', 'default', 's');
    store.create('services', 'default', service('again', { clusterIP: '10.96.0.77' }));
  });

  test('makes watches from before expire, and later ones start behind it', async () => {
    const snapshot = server.snapshot();
    create('a');
    const later = server.store.revision + 5;
    server.restore(snapshot);
    const old = await watch(`&resourceVersion=${snapshot.revision - 1}`);
    expect(await old.ended).toBe('end');
    expect(old.lines).toMatchObject([{ type: 'ERROR', object: { code: 410 } }]);
    const next = await watch(`&resourceVersion=${snapshot.revision}`);
    const future = await watch(`&resourceVersion=${later}`);
    create('b');
    await next.atLeast(1);
    expect([next.summary, future.summary]).toEqual([['ADDED b'], []]);
    for (const one of [next, future]) one.close();
  });

  test('is followed by the controllers of the process', async () => {
    const { store } = server;
    using stop = new DisposableStack();
    const abort = new AbortController();
    stop.defer(() => abort.abort());
    const onError = (error: unknown) => {
      throw error;
    };
    startEndpointSliceController({ store, signal: abort.signal, onError });
    const snapshot = server.snapshot();
    store.create('services', 'default', service('s', { selector: { app: 'x' } }));
    while (store.list('endpointslices').length === 0) await new Promise(setImmediate);
    server.restore(snapshot);
    expect(store.list('endpointslices')).toEqual([]);
    store.create('services', 'default', service('s', { selector: { app: 'x' } }));
    while (store.list('endpointslices').length === 0) await new Promise(setImmediate);
  });
});

test('a server without a group says so in discovery and in plain text, until it serves it', async () => {
  const slices = '/apis/discovery.k8s.io/v1/endpointslices';
  server.serveGroup('discovery.k8s.io', false);
  for (const gone of [slices, `${slices}?watch=1`, '/apis/discovery.k8s.io', '/apis/discovery.k8s.io/v1']) {
    expect(await list(gone)).toMatchObject({ status: 404, text: '404 page not found\n' });
  }
  const { body } = await list('/apis');
  expect(body.groups.map((group: { name: string }) => group.name)).not.toContain('discovery.k8s.io');
  expect(Object.keys((await list('/openapi/v3')).body.paths)).not.toContain('apis/discovery.k8s.io/v1');
  server.serveGroup('discovery.k8s.io', true);
  expect((await list(slices)).status).toBe(200);
  await using old = await startApiServer({ host: '127.0.0.1', port: 0, withoutGroups: ['discovery.k8s.io'] });
  expect((await call(old.url, slices)).status).toBe(404);
});
