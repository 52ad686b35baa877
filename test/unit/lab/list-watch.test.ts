import { createConnection } from 'node:net';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decodeToken, encodeToken } from '../../../src/lab/apiserver/list.ts';
import { type ApiServer, startApiServer } from '../../../src/lab/apiserver/server.ts';
import { Store } from '../../../src/lab/apiserver/store.ts';
import { type Answer, call, WatchReader } from './api-client.ts';

const path = '/api/v1/namespaces/default/configmaps';
let server: ApiServer;

async function start(options: object = {}): Promise<void> {
  await server?.close();
  server = await startApiServer({ host: '127.0.0.1', port: 0, freshnessWaitMs: 20, ...options });
}

function put(name: string, labels: Record<string, string> = {}, data: Record<string, string> = {}): void {
  const object = { metadata: { name, labels }, data };
  if (server.store.get('configmaps', 'default', name) === undefined)
    server.store.create('configmaps', 'default', object);
  else server.store.update('configmaps', 'default', name, object);
}

function names({ body }: Answer): string[] {
  return body.items.map((item: { metadata: { name: string } }) => item.metadata.name);
}

beforeEach(() => start());
afterEach(() => server.close());

describe('lists', () => {
  test('pages show the state of the first page, whatever is written meanwhile', async () => {
    for (const name of ['a', 'b', 'c', 'd']) put(name, {}, { n: '1' });
    const first = await call(server.url, `${path}?limit=2`);
    put('aa');
    put('c', {}, { n: '2' });
    server.store.delete('configmaps', 'default', 'd');
    put('e');
    const rest = await call(server.url, `${path}?limit=9&continue=${first.body.metadata.continue}`);
    expect([names(first), names(rest)]).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
    expect(rest.body.items[0].data).toEqual({ n: '1' });
    expect(rest.body.metadata).toEqual({ resourceVersion: first.body.metadata.resourceVersion });
  });

  test('an expired page token brings one that goes on in the newest state', async () => {
    for (const name of ['a', 'b', 'c']) put(name);
    const first = await call(server.url, `${path}?limit=1`);
    put('b1');
    server.compact();
    const expired = await call(server.url, `${path}?limit=1&continue=${first.body.metadata.continue}`);
    expect([expired.status, expired.body.reason]).toEqual([410, 'Expired']);
    expect(names(await call(server.url, `${path}?continue=${expired.body.metadata.continue}`))).toEqual([
      'b',
      'b1',
      'c',
    ]);
  });

  test('an exact version shows that state, or 410 when it is forgotten', async () => {
    put('a');
    const old = server.store.revision;
    put('b');
    const exact = await call(server.url, `${path}?resourceVersion=${old}&resourceVersionMatch=Exact`);
    expect([names(exact), exact.body.metadata.resourceVersion]).toEqual([['a'], String(old)]);
    expect(names(await call(server.url, `${path}?resourceVersion=${old}`))).toEqual(['a', 'b']);
    server.compact();
    const gone = await call(server.url, `${path}?resourceVersion=${old}&resourceVersionMatch=Exact`);
    expect([gone.status, gone.body.message]).toEqual([410, 'The resourceVersion for the provided list is too old.']);
  });

  test('a version that comes while the server waits is answered', async () => {
    await start({ freshnessWaitMs: 2000 });
    const next = server.store.revision + 1;
    const answer = call(server.url, `${path}?resourceVersion=${next}`);
    setTimeout(() => put('a'), 20);
    expect(names(await answer)).toEqual(['a']);
  });

  test.each([
    ['resourceVersionMatch=Exact', 422, 'resourceVersionMatch is forbidden unless resourceVersion is provided'],
    [
      'resourceVersion=0&resourceVersionMatch=Exact',
      422,
      'resourceVersionMatch \\"exact\\" is forbidden for resourceVersion \\"0\\"',
    ],
    ['resourceVersion=1&resourceVersionMatch=Near', 422, 'Unsupported value: \\"Near\\"'],
    ['sendInitialEvents=true', 422, 'sendInitialEvents is forbidden for list'],
    ['continue=xyz', 400, 'continue key is not valid'],
    ['fieldSelector=data.x%3D1', 400, 'field label not supported: data.x'],
    ['labelSelector=%3D%3D', 400, 'unable to parse requirement'],
    ['resourceVersion=-1', 500, 'invalid syntax'],
  ])('refuses %s', async (query, status, text) => {
    const answer = await call(server.url, `${path}?${query}`);
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(text);
  });

  test.each([
    ['labelSelector=tier', ['a', 'b']],
    ['labelSelector=!tier', ['c']],
    ['labelSelector=tier=web', ['a']],
    ['labelSelector=tier==web', ['a']],
    ['labelSelector=tier!=web', ['b', 'c']],
    ['labelSelector=tier in (web,db)', ['a', 'b']],
    ['labelSelector=tier notin (web)', ['b', 'c']],
    ['labelSelector=tier in (web,db),size=big', ['b']],
    ['fieldSelector=metadata.name=b', ['b']],
    ['fieldSelector=metadata.name!=b,metadata.namespace=default', ['a', 'c']],
    ['labelSelector=tier&fieldSelector=metadata.name!=a', ['b']],
  ])('selects by %s', async (query, expected) => {
    put('a', { tier: 'web' });
    put('b', { tier: 'db', size: 'big' });
    put('c');
    const encoded = query.replace(/(?<=Selector=)[^&]*/g, encodeURIComponent);
    expect(names(await call(server.url, `${path}?${encoded}`))).toEqual(expected);
  });

  test('any older state is rebuilt from the history', () => {
    const step = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), isDelete: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), steps => {
        const store = new Store();
        const states = new Map<number, unknown>();
        for (const [n, { name, isDelete }] of steps.entries()) {
          const exists = store.get('configmaps', 'default', name) !== undefined;
          const object = { metadata: { name }, data: { n: String(n) } };
          if (isDelete && exists) store.delete('configmaps', 'default', name);
          else if (exists) store.update('configmaps', 'default', name, object);
          else if (!isDelete) store.create('configmaps', 'default', object);
          states.set(store.revision, store.list('configmaps'));
        }
        for (const [revision, state] of states) {
          const rebuilt = store.collection('configmaps').versionsAt(revision, '');
          expect(rebuilt?.map(({ object }) => object)).toEqual(state);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('page tokens survive the way to the client and back', () => {
    fc.assert(
      fc.property(fc.nat(), fc.stringMatching(/^[a-z0-9.-]+\/[a-z0-9.-]+$/), (revision, start) => {
        expect(decodeToken(encodeToken({ revision, start }))).toEqual({ revision, start });
        expect(decodeToken(encodeToken({ revision: -1, start }))).toEqual({ revision: -1, start });
      }),
    );
  });
});

describe('watches', () => {
  test('an object that begins or ceases to match comes or goes', async () => {
    put('a');
    const query = `watch=1&resourceVersion=${server.store.revision}&labelSelector=x%3D1`;
    const watch = await WatchReader.open(server.url, `${path}?${query}`);
    put('a', { x: '1' }, { n: '1' });
    put('a', { x: '1' }, { n: '2' });
    put('a', { x: '2' }, { n: '3' });
    put('b');
    put('b', { x: '1' });
    server.store.delete('configmaps', 'default', 'b');
    await watch.atLeast(5);
    expect(watch.summary).toEqual(['ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED b', 'DELETED b']);
    const left = watch.lines[2]?.object;
    expect([left.data, left.metadata.labels]).toEqual([{ n: '2' }, { x: '1' }]);
    expect(Number(left.metadata.resourceVersion)).toBeGreaterThan(
      Number(watch.lines[1]?.object.metadata.resourceVersion),
    );
    watch.close();
  });

  test('a namespace sees only its own', async () => {
    const watch = await WatchReader.open(server.url, `${path}?watch=1`);
    server.store.create('configmaps', 'kube-system', { metadata: { name: 'other' } });
    put('own');
    await watch.atLeast(1);
    expect(watch.summary).toEqual(['ADDED own']);
    watch.close();
  });

  test('WatchList goes on behind its bookmark without a gap', async () => {
    for (let n = 0; n < 50; n += 1) put(`a${n}`, {}, { text: 'x'.repeat(20_000) });
    const query = 'watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const opening = WatchReader.open(server.url, `${path}?${query}`);
    const watch = await opening;
    put('later');
    await watch.atLeast(52);
    expect(watch.summary.slice(0, 50).every(line => line.startsWith('ADDED a'))).toBe(true);
    expect(watch.summary.slice(50)).toEqual(['BOOKMARK', 'ADDED later']);
    watch.close();
  });

  test('bookmarks come from time to time, also while nothing changes, and name the newest version', async () => {
    await start({ bookmarkIntervalMs: 10 });
    put('a');
    const query = `watch=1&allowWatchBookmarks=true&resourceVersion=${server.store.revision}`;
    const watch = await WatchReader.open(server.url, `${path}?${query}`);
    await watch.atLeast(2);
    server.store.create('services', 'default', { metadata: { name: 's' }, spec: { ports: [{ port: 1 }] } });
    await watch.atLeast(watch.lines.length + 2);
    expect(new Set(watch.summary)).toEqual(new Set(['BOOKMARK']));
    expect(watch.lines.at(-1)?.object).toEqual({
      kind: 'ConfigMap',
      apiVersion: 'v1',
      metadata: { resourceVersion: String(server.store.revision) },
    });
    watch.close();
  });

  test('timeoutSeconds ends the answer', async () => {
    const watch = await WatchReader.open(server.url, `${path}?watch=1&timeoutSeconds=1`);
    expect(await watch.ended).toBe('end');
    expect(server.watchCount).toBe(0);
  });

  test('a history that is too short for the start answers 410', async () => {
    await start({ watchCacheSize: 3 });
    put('a');
    const old = server.store.revision;
    for (let n = 0; n < 3; n += 1) put(`b${n}`);
    const last = await WatchReader.open(server.url, `${path}?watch=1&resourceVersion=${old}`);
    await last.atLeast(3);
    last.close();
    put('c');
    const late = await WatchReader.open(server.url, `${path}?watch=1&resourceVersion=${old}`);
    expect(await late.ended).toBe('end');
    expect(late.lines).toMatchObject([{ type: 'ERROR', object: { code: 410, reason: 'Expired' } }]);
    expect(late.lines[0]?.object.message).toBe(`too old resource version: ${old} (${old + 1})`);
  });

  test('a server that restarts with its data goes on, one without its history answers 410', async () => {
    put('a');
    const old = server.store.revision;
    await start({ store: server.store });
    expect(names(await call(server.url, path))).toEqual(['a']);
    await start({ firstResourceVersion: old + 100 });
    const watch = await WatchReader.open(server.url, `${path}?watch=1&resourceVersion=${old}`);
    await watch.ended;
    expect(watch.lines).toMatchObject([{ type: 'ERROR', object: { code: 410 } }]);
  });

  test('dropped watches break off in the middle', async () => {
    const watch = await WatchReader.open(server.url, `${path}?watch=1`);
    put('a');
    await watch.atLeast(1);
    server.dropWatches();
    expect(await watch.ended).toBe('aborted');
  });

  test('a client that does not read costs no memory and is told 410 in the end', async () => {
    await start({ watchCacheSize: 10 });
    const { hostname, port } = new URL(server.url);
    const socket = createConnection({ host: hostname, port: Number(port) });
    socket.write(`GET ${path}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
    let text = '';
    socket.setEncoding('utf8');
    await new Promise<void>(resolve => socket.once('data', () => resolve()));
    socket.pause();
    for (let n = 0; n < 400; n += 1) {
      put('a', {}, { n: String(n), text: 'x'.repeat(50_000) });
      if (n % 5 === 0) await new Promise(resolve => setImmediate(resolve));
    }
    socket.on('data', chunk => {
      text += chunk;
    });
    socket.resume();
    await expect.poll(() => text.includes('"type":"ERROR"'), { timeout: 4000 }).toBe(true);
    expect(text).toContain('"code":410');
    socket.destroy();
  });

  test('a server that is closed closes its watches', async () => {
    const watch = await WatchReader.open(server.url, `${path}?watch=1`);
    await server.close();
    expect(await watch.ended).toBe('aborted');
    await start();
  });
});
