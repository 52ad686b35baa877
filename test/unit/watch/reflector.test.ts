import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { anonymousKubeConfig } from '../../../src/watch/kubeconfig.ts';
import { Reflector } from '../../../src/watch/reflector.ts';
import { ServerContact } from '../../../src/watch/server-contact.ts';
import { Store } from '../../../src/watch/store.ts';
import { storeTarget } from '../../../src/watch/store-target.ts';
import { HttpTransport } from '../../../src/watch/transport.ts';
import { trimService } from '../../../src/watch/trim.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';
import { type Exchange, ScriptedServer } from '../../fakes/scripted-server.ts';

const PATH = '/api/v1/services';

function service(name: string, resourceVersion: number, port = 80): object {
  const metadata = { namespace: 'default', name, resourceVersion: String(resourceVersion) };
  return { kind: 'Service', apiVersion: 'v1', metadata, spec: { clusterIP: '10.96.0.10', ports: [{ port }] } };
}
const added = (name: string, version: number, port?: number) => ({
  type: 'ADDED',
  object: service(name, version, port),
});
const modified = (name: string, version: number, port: number) => ({
  type: 'MODIFIED',
  object: service(name, version, port),
});
const deleted = (name: string, version: number) => ({ type: 'DELETED', object: service(name, version) });
const bookmark = (version: number, annotations: object = {}) => ({
  type: 'BOOKMARK',
  object: { kind: 'Service', metadata: { resourceVersion: String(version), annotations } },
});
const initialEnd = (version: number) => bookmark(version, { 'k8s.io/initial-events-end': 'true' });
const status = (code: number, reason = '', extra: object = {}) => ({
  kind: 'Status',
  status: 'Failure',
  message: `says ${code}`,
  reason,
  code,
  ...extra,
});
const error = (code: number) => ({ type: 'ERROR', object: status(code) });
const list = (version: number, names: readonly string[], more = '') => ({
  kind: 'ServiceList',
  metadata: { resourceVersion: String(version), continue: more },
  items: names.map(name => service(name, 1)),
});

let server: ScriptedServer;
let clock: ManualClock;
let store: Store;
let log: ReturnType<typeof recordedLog>;
/** Names of the objects that were looked into. */
let trimmed: string[];
let transport: HttpTransport;
let reflector: Reflector<unknown>;

function startReflector(random = 0.5): void {
  clock = new ManualClock();
  store = new Store();
  log = recordedLog();
  const { port } = server;
  const loadKubeConfig = () => anonymousKubeConfig(`http://127.0.0.1:${port}`);
  transport = new HttpTransport({ loadKubeConfig, userAgent: 'test', clock });
  trimmed = [];
  const trim = (raw: unknown) => {
    trimmed.push((raw as { metadata: { name: string } }).metadata.name);
    return trimService(raw);
  };
  const resource = { kind: 'Service', path: PATH, trim };
  const { signal } = new AbortController();
  const target = storeTarget(store, 'Service');
  const contact = new ServerContact({ clock, log, collections: 1 });
  const ours = new Reflector({ resource, target, transport, contact, clock, random: () => random, log, signal });
  store.announce(['Service']);
  ours.start();
  reflector = ours as unknown as Reflector<unknown>;
}

const names = () =>
  [...store.snapshot.services.values()].map(({ name, ports }) => `${name}:${ports[0]?.port}`).toSorted();
/** Resolves when the store has changed. */
function changed(): Promise<void> {
  return new Promise(resolve => {
    const stop = store.onDirty(() => {
      stop();
      resolve();
    });
  });
}
/** Answers with events and waits until they are in the store. */
async function send(exchange: Exchange, ...events: readonly object[]): Promise<void> {
  const change = changed();
  await exchange.events(...events);
  await change;
}
/** Lets time pass on a watch that brings a bookmark every 25 s. */
async function live(watch: Exchange, ms: number, version: number): Promise<void> {
  for (let left = ms; left > 0; left -= 25_000) {
    clock.advance(Math.min(left, 25_000));
    await watch.events(bookmark(version));
    while (reflector.stats.lastContactMs !== clock.now()) await new Promise(setImmediate);
  }
}
/** A reflector that has listed `a` and `b` at version 10 by WatchList and has been watching for more than a minute. */
async function watching(): Promise<Exchange> {
  const watch = (await server.next()).open();
  await send(watch, added('a', 1), added('b', 2), initialEnd(10));
  await live(watch, 75_000, 10);
  return watch;
}

beforeEach(async () => {
  server = await ScriptedServer.start();
  startReflector();
});
afterEach(async () => {
  await reflector[Symbol.asyncDispose]();
  await transport[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

describe('a WatchList', () => {
  it('is asked for first, and is complete with its bookmark, not before', async () => {
    const watch = (await server.next()).open();
    expect(watch.path).toBe(PATH);
    expect(watch.query).toEqual({
      watch: '1',
      sendInitialEvents: 'true',
      resourceVersionMatch: 'NotOlderThan',
      allowWatchBookmarks: 'true',
      timeoutSeconds: '450',
    });
    await watch.events(added('a', 1), added('b', 2));
    expect(store.isSynced).toBe(false);
    await send(watch, modified('b', 9, 81), deleted('c', 9), initialEnd(10));
    expect(store.isSynced).toBe(true);
    expect(names()).toEqual(['a:80', 'b:81']);
    await send(watch, added('c', 11), deleted('a', 12));
    expect(names()).toEqual(['b:81', 'c:80']);
    expect(reflector.stats).toMatchObject({ isConnected: true, relists: 0, failures: 0, resourceVersion: '12' });
  });

  it('plays the recorded one of a real server', async () => {
    const { exchanges } = JSON.parse(readFileSync('test/conformance/vectors/watch.json', 'utf8')) as {
      exchanges: { name: string; lines?: object[] }[];
    };
    const recorded = exchanges.find(exchange => exchange.name.startsWith('WatchList: initial'));
    await send((await server.next()).open(), ...(recorded?.lines ?? []));
    expect(names()).toEqual(['kubernetes:443', 's0:80', 's1:80', 's2:80']);
    expect(reflector.stats.resourceVersion).toBe('245');
  });

  it('is one batch for those who listen', async () => {
    let batches = 0;
    store.onDirty(() => {
      batches += 1;
    });
    await watching();
    expect(batches).toBe(1);
  });

  it('may hold nothing', async () => {
    await (await server.next()).open().events(initialEnd(10));
    await store.synced;
    expect(names()).toEqual([]);
  });
});

describe('a server without WatchList', () => {
  it.each([400, 422])('says %i and is listed in pages, then watched', async code => {
    (await server.next()).json(code, status(code, 'Invalid'));
    const first = await server.next();
    expect(first.query).toEqual({ limit: '500', resourceVersion: '0' });
    first.json(200, list(10, ['a'], 'token'));
    const second = await server.next();
    expect(second.query).toEqual({ limit: '500', continue: 'token' });
    second.json(200, list(10, ['b']));
    await store.synced;
    const watch = (await server.next()).open();
    expect(watch.query).toMatchObject({ watch: '1', resourceVersion: '10', allowWatchBookmarks: 'true' });
    expect(watch.query).not.toHaveProperty('sendInitialEvents');
    await send(watch, added('c', 11));
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
  });

  it('is asked again for WatchList after half an hour, not before', async () => {
    (await server.next()).json(422, status(422));
    (await server.next()).json(200, list(10, ['a']));
    let watch = (await server.next()).open();
    await watch.events(error(410));
    const relist = await server.next();
    expect(relist.query).toEqual({ limit: '500' });
    relist.json(200, list(20, ['a']));
    for (let at = 0; at < 30 * 60_000; at += 450_000) {
      watch = (await server.next()).open();
      await live(watch, 450_000, 21);
      watch.end();
    }
    watch = (await server.next()).open();
    expect(watch.query).toMatchObject({ resourceVersion: '21' });
    await watch.events(error(410));
    expect((await server.next()).query).toMatchObject({ sendInitialEvents: 'true' });
  });

  it('may ignore the question and stay silent', async () => {
    const watch = (await server.next()).open();
    await clock.pass(10_000);
    await watch.closed();
    expect((await server.next()).query).toEqual({ limit: '500', resourceVersion: '0' });
  });

  it('may ignore the question and send events without an end', async () => {
    const watch = (await server.next()).open();
    await clock.armed(60_000);
    const closed = watch.closed();
    for (let second = 0; second < 60; second += 5) {
      await watch.events(added('a', second + 1));
      await new Promise(setImmediate);
      clock.advance(5000);
    }
    await closed;
    (await server.next()).json(200, list(70, ['b']));
    await store.synced;
    expect(names()).toEqual(['b:80']);
  });

  it('may ignore the question and close', async () => {
    (await server.next()).open().end();
    expect((await server.next()).query).toEqual({ limit: '500', resourceVersion: '0' });
  });

  it.each([
    ['a page that leads to itself', ['token', 'token']],
    ['empty pages only', Array.from({ length: 101 }, (_, page) => `token-${page}`)],
  ])('may have pages without an end (%s): that is a failure, not a loop', async (_what, tokens) => {
    (await server.next()).json(422, status(422));
    for (const token of tokens) (await server.next()).json(200, list(10, [], token));
    await clock.pass(800);
    expect((await server.next()).query).toEqual({ limit: '500', resourceVersion: '0' });
    expect(log.lines).toContain('warn Service: pages without an end; trying again, what is known stays');
  });

  it('may forget a page token: all is listed in one go, and nothing twice', async () => {
    (await server.next()).json(422, status(422));
    (await server.next()).json(200, list(10, ['a', 'gone'], 'token'));
    (await server.next()).json(410, status(410, 'Expired', { metadata: { continue: 'inconsistent' } }));
    const whole = await server.next();
    expect(whole.query).toEqual({});
    whole.json(200, list(12, ['a', 'b']));
    await store.synced;
    expect(names()).toEqual(['a:80', 'b:80']);
  });
});

describe('410', () => {
  it.each(['an event', 'a status'])('as %s leads to a list at once, which finds what was missed', async form => {
    const watch = await watching();
    if (form === 'an event') await watch.events(error(410));
    else {
      watch.destroy();
      await clock.pass(800);
      (await server.next()).json(200, list(11, []));
      (await server.next()).json(410, status(410, 'Expired'));
    }
    const relist = (await server.next()).open();
    expect(relist.query).toMatchObject({ sendInitialEvents: 'true' });
    expect(names()).toEqual(['a:80', 'b:80']);
    await send(relist, added('b', 2), added('c', 19), initialEnd(20));
    expect(names()).toEqual(['b:80', 'c:80']);
    expect(reflector.stats.relists).toBe(1);
  });

  it('again and again is not a hot loop', async () => {
    await (await watching()).events(error(410));
    for (const delay of [800, 1600, 3200]) {
      await (await server.next()).open().events(error(410));
      await clock.pass(delay);
    }
    await server.next();
    // The first is no failure; the others are one outage.
    expect(log.lines.filter(line => line.includes('forgot where we were'))).toHaveLength(1);
    expect(log.lines.filter(line => line.includes('410'))).toEqual([
      'warn Service: 410 says 410; trying again, what is known stays',
    ]);
  });
});

describe('the time of a watch', () => {
  it.each([
    [0, '300'],
    [0.5, '450'],
    [0.999, '600'],
  ])('is spread over five to ten minutes, so that nodes don’t come back together (%d)', async (random, seconds) => {
    await server.next();
    await reflector[Symbol.asyncDispose]();
    await transport[Symbol.asyncDispose]();
    startReflector(random);
    expect((await server.next()).query).toMatchObject({ timeoutSeconds: seconds });
  });
});

describe('the end of a watch', () => {
  it('leads to the next at once, at the last version, bookmarks included', async () => {
    const watch = await watching();
    await send(watch, added('c', 11));
    for (const version of [12, 13, 14]) {
      await live(watch, 120_000, version);
      await send(watch, modified('a', version, version), bookmark(version + 80));
    }
    watch.end();
    const next = await server.next();
    expect(next.query).toMatchObject({ watch: '1', resourceVersion: '94' });
    expect(reflector.stats.failures).toBe(0);
  });

  it('is made by us when the server forgets its timeout', async () => {
    const watch = await watching();
    await live(watch, 395_000, 13);
    clock.advance(10_000);
    await watch.closed();
    expect((await server.next()).query).toMatchObject({ watch: '1', resourceVersion: '13' });
    expect(reflector.stats.failures).toBe(0);
  });

  it('too early has the version verified first', async () => {
    const watch = await watching();
    watch.end();
    const check = await server.next();
    expect(check.query).toEqual({ limit: '1' });
    check.json(200, list(15, ['a']));
    expect((await server.next()).query).toMatchObject({ watch: '1', resourceVersion: '10' });
  });

  it('at once is a failure: a server that always closes is not asked in a loop', async () => {
    (await server.next()).json(422, status(422));
    (await server.next()).json(200, list(10, []));
    for (const delay of [800, 1600, 3200]) {
      (await server.next()).open().end();
      await clock.pass(delay);
      (await server.next()).json(200, list(10, []));
    }
  });

  it('leaves a cut-off line to the next watch', async () => {
    const watch = await watching();
    await watch.bytes(JSON.stringify(added('c', 11)).slice(0, 50));
    watch.end();
    (await server.next()).json(200, list(11, []));
    const next = (await server.next()).open();
    expect(next.query).toMatchObject({ resourceVersion: '10' });
    await send(next, added('c', 11));
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
    expect(log.lines).toContain('warn Service: the last event was cut off');
  });
});

describe('a failure', () => {
  it('of the connection keeps what is known, waits, and resumes', async () => {
    const watch = await watching();
    watch.destroy();
    await clock.pass(800);
    expect(names()).toEqual(['a:80', 'b:80']);
    (await server.next()).json(200, list(12, []));
    const next = (await server.next()).open();
    expect(next.query).toMatchObject({ resourceVersion: '10' });
    await send(next, deleted('a', 11), added('c', 12));
    expect(names()).toEqual(['b:80', 'c:80']);
    expect(reflector.stats).toMatchObject({ failures: 1, relists: 0 });
  });

  it('behind which the server is older than we are leads to a list', async () => {
    const watch = await watching();
    watch.destroy();
    await clock.pass(800);
    (await server.next()).json(200, list(9, []));
    const relist = (await server.next()).open();
    expect(relist.query).toMatchObject({ sendInitialEvents: 'true' });
    await send(relist, added('a', 1), initialEnd(9));
    expect(names()).toEqual(['a:80']);
    expect(log.lines).toContain('warn Service: the server is older than what we know; listing again');
  });

  it('waits longer each time, up to 30 s', async () => {
    for (const delay of [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]) {
      (await server.next()).json(500, status(500));
      await clock.pass(delay);
    }
    expect(reflector.stats.failures).toBe(8);
    expect(log.lines).toEqual([
      'warn Service: 500 says 500; trying again, what is known stays',
      'warn the API server: away for 80 s; the rules stay (500 says 500)',
    ]);
  });

  it('after something was delivered waits as little as the first', async () => {
    for (const delay of [800, 1600]) {
      (await server.next()).json(500, status(500));
      await clock.pass(delay);
    }
    const watch = (await server.next()).open();
    await send(watch, added('a', 1), initialEnd(10));
    watch.destroy();
    await clock.pass(800);
    await server.next();
  });

  it('of a server that delivers and breaks off without end makes no storm: an hour has a few hundred requests', async () => {
    const end = clock.now() + 3_600_000;
    let requests = 0;
    let version = 10;
    while (clock.now() < end) {
      const exchange = await server.next();
      requests += 1;
      version += 1;
      if (exchange.query.limit === '1') exchange.json(200, list(version, []));
      else {
        exchange.open();
        await exchange.events(exchange.query.sendInitialEvents ? initialEnd(version) : bookmark(version));
        while (reflector.stats.resourceVersion !== String(version)) await new Promise(setImmediate);
        const { failures } = reflector.stats;
        exchange.destroy();
        while (reflector.stats.failures === failures) await new Promise(setImmediate);
        await clock.next(30_000);
      }
    }
    expect(requests).toBeGreaterThan(2 * 60);
    expect(requests).toBeLessThan(2 * 7 * 60 + 20);
  });

  it.each([
    ['header', status(429, 'TooManyRequests'), { 'retry-after': '7' }],
    ['body', status(429, 'TooManyRequests', { details: { retryAfterSeconds: 7 } }), {}],
    ['header, as a day', status(503), { 'retry-after': '86400' }, 66_000],
  ])('with Retry-After in the %s waits that long, a spread added, but never for hours', async (...given) => {
    const [_place, body, headers, delay = 7700] = given;
    (await server.next()).json(body.code, body, headers);
    await clock.pass(delay);
    await server.next();
  });

  it('as an ERROR event resumes at the last version', async () => {
    const watch = await watching();
    await watch.events(modified('a', 11, 81), error(500));
    await clock.pass(800);
    (await server.next()).json(200, list(11, []));
    expect((await server.next()).query).toMatchObject({ resourceVersion: '11' });
    expect(names()).toEqual(['a:81', 'b:80']);
  });

  it('that stays with one version ends in a list', async () => {
    await (await watching()).events(error(500));
    for (const delay of [800, 1600, 3200, 6400]) {
      await clock.pass(delay);
      (await server.next()).json(200, list(10, []));
      (await server.next()).json(500, status(500));
    }
    await clock.pass(12_800);
    expect((await server.next()).query).toMatchObject({ sendInitialEvents: 'true' });
  });

  it('of credentials does not throw away the version', async () => {
    const watch = await watching();
    watch.destroy();
    for (const delay of [800, 1600, 3200, 6400, 12_800, 25_600]) {
      await clock.pass(delay);
      (await server.next()).json(401, status(401, 'Unauthorized'));
    }
    await clock.pass(30_000);
    (await server.next()).json(200, list(10, []));
    expect((await server.next()).query).toMatchObject({ resourceVersion: '10' });
  });
});

describe('a silent watch', () => {
  it('is looked at by a second one from its version, and stays when nothing was missed', async () => {
    const watch = await watching();
    clock.advance(35_000);
    const second = await server.next();
    expect(second.query).toEqual({
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: '10',
      timeoutSeconds: '1',
    });
    await second.open().events(bookmark(14));
    second.end();
    await clock.armed(35_000);
    await send(watch, added('c', 15));
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
    expect(reflector.stats).toMatchObject({ failures: 0, resourceVersion: '15' });
  });

  it('that others overtake is dead: the next one brings what it held back', async () => {
    const watch = await watching();
    clock.advance(35_000);
    await (await server.next()).open().events(added('c', 15));
    await clock.pass(5000);
    await watch.closed();
    await clock.pass(800);
    (await server.next()).json(200, list(20, []));
    const next = (await server.next()).open();
    expect(next.query).toMatchObject({ resourceVersion: '10' });
    await send(next, added('c', 15));
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
    expect(log.lines.at(-2)).toBe(
      'warn Service: the watch brings nothing of what the server has to tell; trying again, what is known stays',
    );
  });

  it('of a server that hangs is given up within a minute', async () => {
    const watch = await watching();
    clock.advance(35_000);
    const second = await server.next();
    clock.advance(25_000);
    await Promise.all([watch.closed(), second.closed()]);
    expect(log.lines.at(-1)).toBe('warn Service: silent for 60 s; trying again, what is known stays');
    await clock.pass(800);
    expect((await server.next()).query).toEqual({ limit: '1' });
  });
});

describe('a relist', () => {
  const held = (name: string, version: number, port?: number) => {
    const object = service(name, version, port) as { metadata: object };
    return { ...object, metadata: { ...object.metadata, uid: `uid of ${name}` } };
  };
  const event = (object: object) => ({ type: 'ADDED', object });

  /** A reflector that knows three objects. */
  async function listed(): Promise<{ watch: Exchange }> {
    const watch = (await server.next()).open();
    await send(watch, event(held('a', 1)), event(held('b', 2)), event(held('c', 3)), initialEnd(10));
    trimmed.length = 0;
    await live(watch, 75_000, 10);
    return { watch };
  }

  it.each(['WatchList', 'pages'])('by %s looks only into what is different, and marks only that', async how => {
    const { watch } = await listed();
    const before = store.snapshot.services;
    const dirty: string[] = [];
    store.onDirty(({ services }) => dirty.push(...services));
    await watch.events(error(410));
    const relist = await server.next();
    const objects = [held('a', 1), held('b', 12, 81), held('d', 13)];
    if (how === 'WatchList') await send(relist.open(), ...objects.map(event), initialEnd(20));
    else {
      relist.json(422, status(422));
      const change = changed();
      (await server.next()).json(200, { metadata: { resourceVersion: '20' }, items: objects });
      await change;
    }
    expect(names()).toEqual(['a:80', 'b:81', 'd:80']);
    expect(store.snapshot.services.get('default/a')).toBe(before.get('default/a'));
    expect(trimmed.toSorted()).toEqual(['b', 'd']);
    expect(dirty.toSorted()).toEqual(['default/b', 'default/c', 'default/d']);
    const line = `info Service: complete list by ${how}`;
    expect(log.lines.filter(one => one === line)).toHaveLength(how === 'WatchList' ? 2 : 1);
  });

  it('looks into everything when the server came back older: one version may stand for two objects', async () => {
    const { watch } = await listed();
    watch.destroy();
    await clock.pass(800);
    (await server.next()).json(200, list(9, []));
    const relist = (await server.next()).open();
    await send(relist, event(held('a', 1, 99)), event(held('b', 2)), initialEnd(9));
    expect(names()).toEqual(['a:99', 'b:80']);
  });

  it('that turns out older than what is known is thrown away and made again, wholly', async () => {
    const { watch } = await listed();
    await watch.events(error(410));
    await (await server.next()).open().events(event(held('a', 1)), event(held('b', 2)), initialEnd(9));
    await clock.pass(800);
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
    const again = (await server.next()).open();
    expect(again.query).toMatchObject({ sendInitialEvents: 'true' });
    await send(again, event(held('a', 1, 99)), initialEnd(9));
    expect(names()).toEqual(['a:99']);
    expect(log.lines).toContain('warn Service: the server is older than what we know; listing again');
  });

  it('keeps the problems of what is unchanged', async () => {
    const broken = held('a', 1) as unknown as { spec: { ports: object[] } };
    broken.spec.ports.push({ port: 70000 });
    const watch = (await server.next()).open();
    await send(watch, event(broken), event(held('b', 2)), initialEnd(10));
    await live(watch, 75_000, 10);
    await watch.events(error(410));
    await send((await server.next()).open(), event(broken), initialEnd(20));
    expect(names()).toEqual(['a:80']);
    expect(store.problems()).toMatchObject([{ object: 'Service default/a' }]);
  });

  it('of an object that was changed by an event in between looks into it', async () => {
    const { watch } = await listed();
    await send(watch, { type: 'MODIFIED', object: held('a', 11, 81) }, { type: 'DELETED', object: held('b', 12) });
    await watch.events(error(410));
    trimmed.length = 0;
    await send((await server.next()).open(), event(held('a', 11, 81)), event(held('b', 2)), initialEnd(20));
    expect(trimmed).toEqual(['b']);
    expect(names()).toEqual(['a:81', 'b:80']);
  });
});

describe('nonsense', () => {
  it.each([
    ['no JSON', '{"type":"ADDED",\n'],
    ['no event', '[]\n'],
    ['an unknown type', `${JSON.stringify({ type: 'MOVED', object: service('a', 11) })}\n`],
    ['no version', `${JSON.stringify({ type: 'ADDED', object: { metadata: { name: 'c' } } })}\n`],
    [
      'a deletion of nothing',
      `${JSON.stringify({ type: 'DELETED', object: { metadata: { resourceVersion: '12' } } })}\n`,
    ],
  ])('(%s) is logged and leads to a list; what came before it counts', async (_what, line) => {
    const watch = await watching();
    await send(watch, modified('a', 11, 81));
    await watch.bytes(line);
    await clock.pass(800);
    expect((await server.next()).query).toMatchObject({ sendInitialEvents: 'true' });
    expect(names()).toEqual(['a:81', 'b:80']);
    expect(log.lines.at(-1)).toMatch(/^warn Service: .*; trying again, what is known stays$/);
  });

  it.each([
    ['HTML', '<html>'],
    ['another object', '{"kind":"Status"}'],
    ['no version', '{"metadata":{},"items":[]}'],
  ])('in a list (%s) is a failure', async (_what, text) => {
    (await server.next()).json(422, status(422));
    (await server.next()).response.end(text);
    await clock.pass(800);
    expect((await server.next()).query).toMatchObject({ limit: '500' });
    expect(store.isSynced).toBe(false);
  });

  it('in an object costs only its part, and is a problem of the store', async () => {
    const watch = await watching();
    const broken = service('c', 11) as { spec: { ports: object[] } };
    broken.spec.ports.push({ port: 70000 });
    await send(watch, { type: 'ADDED', object: broken });
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
    expect(store.problems()).toMatchObject([{ object: 'Service default/c', field: 'spec.ports[1].port' }]);
  });
});

describe('bytes', () => {
  it('may arrive one by one, also within a character', async () => {
    const watch = await watching();
    const event = added('c', 11) as { object: { metadata: { labels?: object } } };
    event.object.metadata.labels = { text: 'grüße, 世界 🌍' };
    const bytes = Buffer.from(`\n${JSON.stringify(event)}\n\n`);
    const change = changed();
    watch.response.socket?.setNoDelay(true);
    for (const byte of bytes) await watch.bytes(Uint8Array.of(byte));
    await change;
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
  });

  it('of a huge object arrive in many chunks', async () => {
    const watch = await watching();
    const event = added('c', 11) as { object: { metadata: { annotations?: object } } };
    event.object.metadata.annotations = { text: 'ä'.repeat(3_000_000) };
    await send(watch, event, added('d', 12));
    expect(names()).toEqual(['a:80', 'b:80', 'c:80', 'd:80']);
  });
});

describe('disposal', () => {
  it('ends an open watch and leaves no timer', async () => {
    const watch = await watching();
    await reflector[Symbol.asyncDispose]();
    await watch.closed();
    expect(clock.pending).toBe(0);
    expect(log.lines.filter(line => !line.startsWith('info'))).toEqual([]);
  });

  it('ends a delay', async () => {
    (await server.next()).json(500, status(500));
    await clock.armed(800);
    await reflector[Symbol.asyncDispose]();
    expect(clock.pending).toBe(0);
  });

  it('ends a request without an answer', async () => {
    const request = await server.next();
    await reflector[Symbol.asyncDispose]();
    await request.closed();
    expect(clock.pending).toBe(0);
  });
});
