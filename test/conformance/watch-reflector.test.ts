/** What a real API server answered (vectors/watch.json), played to the reflector: it must end with the right objects each time. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { anonymousKubeConfig } from '../../src/watch/kubeconfig.ts';
import type { Kind } from '../../src/watch/objects.ts';
import { Reflector } from '../../src/watch/reflector.ts';
import type { ReflectorStats } from '../../src/watch/reflector-stats.ts';
import { ServerContact } from '../../src/watch/server-contact.ts';
import { Store } from '../../src/watch/store.ts';
import { storeTarget } from '../../src/watch/store-target.ts';
import { HttpTransport } from '../../src/watch/transport.ts';
import { TRIMMERS } from '../../src/watch/trim.ts';
import { ManualClock } from '../fakes/manual-clock.ts';
import { recordedLog } from '../fakes/recorded-log.ts';
import { type Exchange, ScriptedServer } from '../fakes/scripted-server.ts';

interface RawObject {
  readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string };
  readonly spec?: { readonly clusterIP: string; readonly ports: readonly { readonly port: number }[] };
  readonly endpoints?: readonly { readonly addresses: readonly string[] }[];
}
interface Line {
  readonly type: string;
  readonly object: RawObject;
}
interface Recorded {
  readonly name: string;
  readonly request: { readonly method: string; readonly path: string };
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: {
    readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
    readonly items: readonly RawObject[];
  };
  readonly text?: string;
  readonly lines?: readonly Line[] | null;
}

const exchanges: readonly Recorded[] = JSON.parse(
  readFileSync(new URL('./vectors/watch.json', import.meta.url), 'utf8'),
).exchanges;
const played = new Set<string>();
/** Requests that a reflector never makes: it neither writes nor asks for the version. */
const NOT_MET: readonly string[] = exchanges
  .filter(({ request }) => request.method !== 'GET' || request.path === '/version')
  .map(({ name }) => name);

/** The recorded exchange whose name begins so. */
function recorded(name: string): Recorded {
  const found = exchanges.find(exchange => exchange.name.startsWith(name));
  if (found === undefined) throw new Error(`no exchange ${name}`);
  played.add(found.name);
  return found;
}
const listed = (name: string) => recorded(name).body?.items ?? [];
const linesOf = (name: string) => recorded(name).lines ?? [];

let server: ScriptedServer;
let clock: ManualClock;
let store: Store;
let transport: HttpTransport;
let reflector: { readonly stats: ReflectorStats } & AsyncDisposable;
let loads: number;

function reflect<K extends Kind>(kind: K, path: string): void {
  const resource = { kind, path, trim: TRIMMERS[kind] };
  const { signal } = new AbortController();
  const target = storeTarget(store, kind);
  const log = recordedLog();
  const contact = new ServerContact({ clock, log, collections: 1 });
  const ours = new Reflector({ resource, target, transport, contact, clock, random: () => 0.5, log, signal });
  store.announce([kind]);
  ours.start();
  reflector = ours;
}
const reflectServices = () => reflect('Service', '/api/v1/services');

beforeEach(async () => {
  server = await ScriptedServer.start();
  clock = new ManualClock();
  store = new Store();
  loads = 0;
  const loadKubeConfig = () => {
    loads += 1;
    return anonymousKubeConfig(`http://127.0.0.1:${server.port}`);
  };
  transport = new HttpTransport({ loadKubeConfig, userAgent: 'test', clock });
});
afterEach(async () => {
  await reflector[Symbol.asyncDispose]();
  await transport[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});
/** What of a raw Service or EndpointSlice the store must show, read here without our trimmers. */
const essence = ({ metadata, spec, endpoints }: RawObject) =>
  spec === undefined
    ? { name: metadata.name, addresses: endpoints?.map(endpoint => endpoint.addresses) }
    : {
        name: metadata.name,
        uid: metadata.uid,
        clusterIPs: [spec.clusterIP],
        ports: spec.ports.map(({ port }) => port),
      };
const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name);
function contents(): object[] {
  const { services, slices } = store.snapshot;
  const ofServices = [...services.values()].map(({ name, uid, clusterIPs, ports }) => {
    return { name, uid, clusterIPs, ports: ports.map(({ port }) => port) };
  });
  const ofSlices = [...slices.values()]
    .flatMap(list => [...list.values()])
    .map(({ name, endpoints }) => ({ name, addresses: endpoints.map(({ addresses }) => addresses) }));
  return [...ofServices, ...ofSlices].toSorted(byName);
}
const expectObjects = (objects: Iterable<RawObject>) =>
  expect(contents()).toEqual([...objects].map(essence).toSorted(byName));

/** Resolves when the reflector stands at this version. */
async function reached(resourceVersion: string): Promise<void> {
  while (reflector.stats.resourceVersion !== resourceVersion) await new Promise(setImmediate);
}
/** The next request, which must be of the form that was recorded. */
async function arrival({ request }: Recorded, form: Record<string, unknown> = {}): Promise<Exchange> {
  const exchange = await server.next();
  const url = new URL(request.path, 'http://server');
  const was = Object.fromEntries(url.searchParams);
  expect(exchange.path).toBe(url.pathname);
  const shape = (query: Readonly<Record<string, string>>) => ({
    watch: query.watch,
    sendInitialEvents: query.sendInitialEvents,
    continue: query.continue,
    ...form,
  });
  expect(exchange.query).toMatchObject(JSON.parse(JSON.stringify(shape(was))));
  if (was.watch === undefined) expect(exchange.query.watch).toBeUndefined();
  return exchange;
}
/** Answers the next request with a complete recorded answer. */
async function answer(name: string, form?: Record<string, unknown>): Promise<void> {
  const exchange = recorded(name);
  const { status, headers = {}, body, text } = exchange;
  const { response } = await arrival(exchange, form);
  const { 'transfer-encoding': _, ...own } = headers;
  response.writeHead(status, own).end(text ?? JSON.stringify(body));
}
/** Answers whatever comes next, a list or a watch, with a recorded refusal. */
async function refuse(name: string): Promise<Exchange> {
  const { status, headers = {}, body, text } = recorded(name);
  const exchange = await server.next();
  exchange.response.writeHead(status, headers).end(text ?? JSON.stringify(body));
  return exchange;
}
/** Plays a watch event by event: after each one the store must be what the events so far make of `before`. */
async function watch(name: string, before: Iterable<RawObject>, form?: Record<string, unknown>): Promise<Exchange> {
  const exchange = (await arrival(recorded(name), form)).open();
  const objects = new Map([...before].map(object => [object.metadata.name, object]));
  for (const { type, object } of linesOf(name)) {
    await exchange.events({ type, object });
    if (type === 'ERROR') break;
    await reached(object.metadata.resourceVersion);
    if (type === 'DELETED') objects.delete(object.metadata.name);
    else if (type !== 'BOOKMARK') objects.set(object.metadata.name, object);
    expectObjects(objects.values());
  }
  return exchange;
}
/** A recorded WatchList: nothing may be seen of it before its end. */
async function watchList(name: string, before: Iterable<RawObject>): Promise<Exchange> {
  const lines = linesOf(name);
  const exchange = (await arrival(recorded(name), { resourceVersionMatch: 'NotOlderThan' })).open();
  for (const line of lines.slice(0, -1)) {
    await exchange.events(line);
    await new Promise(setImmediate);
    expectObjects(before);
  }
  const end = lines.at(-1);
  await exchange.events(end ?? {});
  await reached(end?.object.metadata.resourceVersion ?? '');
  await new Promise(setImmediate);
  expectObjects(lines.slice(0, -1).map(({ object }) => object));
  return exchange;
}
const WATCH_LIST = 'WatchList: initial';
const initialObjects = () =>
  linesOf(WATCH_LIST)
    .slice(0, -1)
    .map(({ object }) => object);

/** A server without WatchList, listed in two pages. */
async function listPages(): Promise<RawObject[]> {
  await refuse('sendInitialEvents without');
  await answer('consistent list, first page');
  await answer('consistent list, second page');
  await store.synced;
  const objects = [...listed('consistent list, first page'), ...listed('consistent list, second page')];
  expect(objects).toHaveLength(4);
  expectObjects(objects);
  expect(reflector.stats.resourceVersion).toBe('240');
  return objects;
}
/** The question for the server's version, before a watch that may be from its future. */
async function verification(): Promise<void> {
  const exchange = await server.next();
  expect(exchange.query).toEqual({ limit: '1' });
  exchange.json(200, recorded('services without headless').body);
}

describe('lists', () => {
  test('a WatchList is complete with its bookmark', async () => {
    reflectServices();
    await watchList(WATCH_LIST, []);
    expect(store.isSynced).toBe(true);
  });

  test('a WatchList of nothing empties the store: what is not in it is gone', async () => {
    reflectServices();
    const first = await watchList(WATCH_LIST, []);
    await first.events(...linesOf('watch from before the server restarted'));
    await watchList('WatchList with a selector', initialObjects());
    expect(contents()).toEqual([]);
    expect(reflector.stats.relists).toBe(1);
  });

  test('a server without WatchList is listed in pages', async () => {
    reflectServices();
    await listPages();
    await watch('watch from a list', listed('list from the watch cache'), { resourceVersion: '240' });
  });

  test('a page token that expired means one list of all, without the page that came before', async () => {
    reflectServices();
    await refuse('sendInitialEvents without');
    await answer('services without headless');
    const token = recorded('services without headless').body?.metadata.continue;
    await answer('page token after', { continue: token });
    const whole = await server.next();
    expect(whole.query).toEqual({});
    whole.json(200, recorded('list from the watch cache').body);
    await store.synced;
    expectObjects(listed('list from the watch cache'));
    expect(reflector.stats.resourceVersion).toBe('240');
  });

  test('a server that takes WatchList for a watch from version 0 is listed, and its events prove nothing', async () => {
    reflectServices();
    const lines = linesOf('watch from resourceVersion 0');
    const ignorant = (await server.next()).open();
    await ignorant.events(...lines);
    await clock.pass(10_000);
    await ignorant.closed();
    expect(store.isSynced).toBe(false);
    await answer('list from the watch cache');
    await store.synced;
    expectObjects(lines.map(({ object }) => object));
  });

  test('a server that is not as far as the version asked for says how long to wait', async () => {
    reflectServices();
    await listPages();
    (await server.next()).open().destroy();
    await clock.pass(800);
    const { status, headers = {}, body } = recorded('list at a future');
    (await server.next()).json(status, body, headers);
    await clock.pass(1600); // longer than its Retry-After of a second, a tenth added
    await verification();
    await watch('watch from a list', listed('list from the watch cache'), { resourceVersion: '240' });
  });
});

describe('watches', () => {
  test('of EndpointSlices bring them', async () => {
    reflect('EndpointSlice', '/apis/discovery.k8s.io/v1/endpointslices');
    await refuse('sendInitialEvents without');
    (await server.next()).json(200, { metadata: { resourceVersion: '70' }, items: [] });
    await watch('watch of EndpointSlices', [], { resourceVersion: '70' });
    expect(contents()).toHaveLength(2);
  });

  test('from a version that is compacted, but still in the watch cache, go on', async () => {
    reflectServices();
    await listPages();
    await watch('watch at a compacted', listed('list from the watch cache'), { resourceVersion: '240' });
    expect(reflector.stats.resourceVersion).toBe('376');
  });

  test('whose start is forgotten (410 as an event in 200) lead to a list, which finds what was missed', async () => {
    reflectServices();
    await listPages();
    await watch('watch from before the server restarted', listed('list from the watch cache'), {
      resourceVersion: '240',
    });
    await answer('consistent list, second page', { continue: undefined });
    await watch('watch from a list', listed('consistent list, second page'), { resourceVersion: '240' });
    expect(reflector.stats.relists).toBe(1);
  });

  test('from a version that the server has not reached are silent: so the version is asked for first', async () => {
    reflectServices();
    const objects = await listPages();
    const silent = await watch('watch from a future', objects, { resourceVersion: '240' });
    silent.end();
    await clock.pass(800);
    await verification();
    const followed = await watch('watch from a list', objects, { resourceVersion: '240' });
    expect(reflector.stats.resourceVersion).toBe('244');
    followed.destroy();
    await clock.pass(800);
    const behind = await server.next();
    expect(behind.query).toEqual({ limit: '1' });
    behind.json(200, recorded('consistent list, first page').body);
    await answer('consistent list, first page');
    await answer('consistent list, second page');
    await reached('240');
    expectObjects(objects);
  });
});

describe('refusals keep what is known', () => {
  test.each([
    ['wrong token', 2],
    ['unknown resource', 1],
    ['unknown group', 1],
  ])('%s: the version stays', async (name, wantedLoads) => {
    reflectServices();
    const objects = await listPages();
    await refuse(name);
    for (const delay of [800, 1600, 3200, 6400, 12_800, 25_600]) {
      await clock.pass(delay);
      await refuse(name);
    }
    expectObjects(objects);
    expect(reflector.stats.resourceVersion).toBe('240');
    expect(Math.min(loads, 2)).toBe(wantedLoads);
    await clock.pass(30_000);
    await verification();
    await watch('watch from a list', objects, { resourceVersion: '240' });
  });

  test('a version that the server cannot read is given up after some tries, and listed anew', async () => {
    reflectServices();
    const objects = await listPages();
    await refuse('watch with a malformed');
    for (const delay of [800, 1600, 3200, 6400]) {
      await clock.pass(delay);
      await verification();
      await refuse('watch with a malformed');
    }
    expectObjects(objects);
    await clock.pass(12_800);
    await answer('consistent list, second page', { continue: undefined });
    await reached('240');
    await watch('watch from a list', listed('consistent list, second page'), { resourceVersion: '240' });
  });
});

test('every recorded exchange that a reflector meets was played', () => {
  const missing = exchanges.map(({ name }) => name).filter(name => !played.has(name) && !NOT_MET.includes(name));
  expect(missing).toEqual([]);
});
