import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { anonymousKubeConfig } from '../../../src/watch/kubeconfig.ts';
import { OptionalWatch } from '../../../src/watch/optional-watch.ts';
import { ServerContact } from '../../../src/watch/server-contact.ts';
import { Store } from '../../../src/watch/store.ts';
import { storeTarget } from '../../../src/watch/store-target.ts';
import { HttpTransport } from '../../../src/watch/transport.ts';
import { TRIMMERS } from '../../../src/watch/trim.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';
import { type Exchange, ScriptedServer } from '../../fakes/scripted-server.ts';

const PATH = '/apis/networking.k8s.io/v1/servicecidrs';
/** Ten minutes and the spread of random() = 0.5. */
const RETRY_MS = 660_000;

let server: ScriptedServer;
let clock: ManualClock;
let log: ReturnType<typeof recordedLog>;
let store: Store;
let contact: ServerContact;
let watch: OptionalWatch<{ readonly name: string; readonly cidrs: readonly string[] }>;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await ScriptedServer.start());
  clock = new ManualClock();
  log = recordedLog();
  store = new Store();
  const loadKubeConfig = () => anonymousKubeConfig(`http://127.0.0.1:${server.port}`);
  const transport = stack.use(new HttpTransport({ loadKubeConfig, userAgent: 'test', clock }));
  contact = new ServerContact({ clock, log, collections: 3 });
  const resource = { kind: 'ServiceCIDR', path: PATH, trim: TRIMMERS.ServiceCIDR };
  const target = storeTarget(store, 'ServiceCIDR');
  const { signal } = new AbortController();
  watch = stack.use(new OptionalWatch({ resource, target, transport, contact, clock, random: () => 0.5, log, signal }));
  watch.start();
});
afterEach(() => stack.disposeAsync());

const status = (code: number, message: string) => ({ kind: 'Status', status: 'Failure', code, message });
const object = (name: string, resourceVersion: string, cidrs: readonly string[]) => ({
  metadata: { name, uid: name, resourceVersion },
  spec: { cidrs },
});

/** The server has one range: answers the request with it as a WatchList, which stays open. */
async function list(exchange: Exchange, cidr: string): Promise<void> {
  const bookmark = { metadata: { resourceVersion: '7', annotations: { 'k8s.io/initial-events-end': 'true' } } };
  await exchange
    .open()
    .events({ type: 'ADDED', object: object('kubernetes', '5', [cidr]) }, { type: 'BOOKMARK', object: bookmark });
}

/** Resolves when the store's ranges have changed. */
function change(): Promise<void> {
  return new Promise(resolve => {
    const stop = store.onDirty(() => {
      stop();
      resolve();
    });
  });
}

describe('a collection that the server lacks', () => {
  it.each([
    [404, 'the server has none'],
    [403, 'we may not list it'],
  ])('is empty (%i), which is said once, and asked for again ten minutes later', async (code, why) => {
    store.upsert('ServiceCIDR', { name: 'of another server', cidrs: ['10.0.0.0/8'] });
    for (let times = 0; times < 3; times += 1) {
      (await server.next()).json(code, status(code, 'no'));
      await clock.armed(RETRY_MS);
      expect(watch.stats).toBeUndefined();
      clock.advance(RETRY_MS);
    }
    expect(store.snapshot.serviceCIDRs).toEqual([]);
    expect(contact.failingSinceMs).toBe(0);
    expect(log.lines).toEqual([`info ServiceCIDR: ${why}; taken for empty, asked again every 10 minutes (${code} no)`]);
    const changed = change();
    await list(await server.next(), '10.96.0.0/16');
    await changed;
    expect(store.snapshot.serviceCIDRs).toEqual(['10.96.0.0/16']);
  });

  it('and had before keeps what is known', async () => {
    const changed = change();
    const first = await server.next();
    await list(first, '10.96.0.0/16');
    await changed;
    clock.advance(2000);
    first.end();
    (await server.next()).json(404, status(404, 'gone'));
    await clock.armed(RETRY_MS);
    expect(store.snapshot.serviceCIDRs).toEqual(['10.96.0.0/16']);
    expect(log.lines.at(-1)).toBe(
      'info ServiceCIDR: the server has none; what is known stays, asked again every 10 minutes (404 gone)',
    );
  });

  it('is asked for as any other where it fails in another way', async () => {
    (await server.next()).json(500, status(500, 'etcd is away'));
    await clock.next(2000);
    expect(contact.failingSinceMs).toBeGreaterThan(0);
    expect(log.lines).toEqual(['warn ServiceCIDR: 500 etcd is away; trying again, what is known stays']);
    (await server.next()).json(404, status(404, 'no'));
    await clock.armed(RETRY_MS);
    expect(contact.failingSinceMs).toBe(0);
  });
});
