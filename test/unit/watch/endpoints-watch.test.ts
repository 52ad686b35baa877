import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EndpointsWatch } from '../../../src/watch/endpoints-watch.ts';
import { anonymousKubeConfig } from '../../../src/watch/kubeconfig.ts';
import { ServerContact } from '../../../src/watch/server-contact.ts';
import { Store } from '../../../src/watch/store.ts';
import { HttpTransport } from '../../../src/watch/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';
import { ScriptedServer } from '../../fakes/scripted-server.ts';

const GROUP = '/apis/discovery.k8s.io';
const SLICES = `${GROUP}/v1/endpointslices`;
const ENDPOINTS = '/api/v1/endpoints';

let server: ScriptedServer;
let clock: ManualClock;
let log: ReturnType<typeof recordedLog>;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await ScriptedServer.start());
  clock = new ManualClock();
  log = recordedLog();
  const loadKubeConfig = () => anonymousKubeConfig(`http://127.0.0.1:${server.port}`);
  const transport = stack.use(new HttpTransport({ loadKubeConfig, userAgent: 'test', clock }));
  const contact = new ServerContact({ clock, log, collections: 1 });
  const { signal } = new AbortController();
  const reflector = { transport, contact, clock, random: () => 0.5, log, signal };
  stack.use(new EndpointsWatch({ from: 'auto', store: new Store(), reflector })).start();
});
afterEach(() => stack.disposeAsync());

const group = (...versions: string[]) => ({ kind: 'APIGroup', versions: versions.map(version => ({ version })) });
const list = { metadata: { resourceVersion: '1' }, items: [] };
/** Answers the next request, which must be for this path. */
async function answer(path: string, status: number, body: object = {}): Promise<void> {
  const exchange = await server.next();
  expect(exchange.path).toBe(path);
  exchange.json(status, body);
}

describe('the source', () => {
  it('is slices where the group says so', async () => {
    await answer(GROUP, 200, group('v1', 'v1beta1'));
    expect((await server.next()).path).toBe(SLICES);
  });

  it('is slices where only the group is missing: a proxy may hide it', async () => {
    await answer(GROUP, 404);
    await answer(SLICES, 200, list);
    const watchList = await server.next();
    expect([watchList.path, watchList.query.sendInitialEvents]).toEqual([SLICES, 'true']);
  });

  it('is slices where we may not ask', async () => {
    await answer(GROUP, 403);
    expect((await server.next()).path).toBe(SLICES);
  });

  it.each([
    ['has no such group', 404, {}],
    ['has only the beta version', 200, group('v1beta1')],
  ])('is Endpoints where the server %s, and no such collection', async (_what, status, body) => {
    await answer(GROUP, status, body);
    await answer(SLICES, 404);
    await answer(GROUP, status, body);
    await answer(SLICES, 404);
    expect((await server.next()).path).toBe(ENDPOINTS);
  });

  it('is asked for again after an answer without an end', async () => {
    const endless = (await server.next()).open();
    for (let n = 0; n < 33; n += 1) void endless.bytes(Buffer.alloc(1024 * 1024, ' '));
    await endless.closed();
    await clock.pass(800);
    await answer(GROUP, 200, group('v1'));
    expect((await server.next()).path).toBe(SLICES);
    expect(log.lines).toContain(`warn EndpointSlice: more than 32 MiB: ${GROUP}; trying again, what is known stays`);
  });

  it('is asked for again when the server doesn’t answer', async () => {
    await answer(GROUP, 500);
    await clock.pass(800);
    await answer(GROUP, 404);
    await answer(SLICES, 503);
    await clock.pass(1600);
    (await server.next()).response.end('<html>');
    await clock.pass(3200);
    await answer(GROUP, 200, group('v1'));
    expect((await server.next()).path).toBe(SLICES);
    expect(log.lines.filter(line => line.includes('endpoints come from'))).toHaveLength(1);
  });
});
