import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isJsonObject } from '../../src/lab/apiserver/objects.ts';
import { type ApiServer, startApiServer } from '../../src/lab/apiserver/server.ts';
import { type Answer, call, service, WatchReader } from '../unit/lab/api-client.ts';

interface Exchange {
  readonly name: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly body?: unknown;
    readonly contentType?: string;
  };
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly text?: string;
  readonly lines?: readonly unknown[];
}

const vectors: { readonly exchanges: readonly Exchange[] } = JSON.parse(
  readFileSync(new URL('./vectors/watch.json', import.meta.url), 'utf8'),
);

const services = '/api/v1/namespaces/default/services';

/** The version and key in a page token, without the version's value; a token of either form has them. */
function readToken(token: string): unknown {
  const { rv, start, v } = JSON.parse(Buffer.from(token, 'base64url').toString());
  return { v, start, isExact: rv >= 0 };
}

/** What differs from run to run is replaced by its form. */
function normalise(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map(item => normalise(item, key));
  if (isJsonObject(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, normalise(item, name)]));
  }
  if (typeof value !== 'string') return value;
  if (key === 'uid') return value.replace(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'UID');
  if (key === 'creationTimestamp') return value.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'TIME');
  if (key === 'resourceVersion') return value.replace(/^\d+$/, 'VERSION');
  if (key === 'clusterIP' || key === 'clusterIPs')
    return value === '10.96.0.1' ? value : value.replace(/^10\.\d+\.\d+\.\d+$/, 'ALLOCATED');
  if (key === 'continue') return readToken(value);
  if (key === 'message') return value.replace(/(too old resource version): \d+ \(\d+\)|(?<=current: )\d+/, '$1');
  return value;
}

let server: ApiServer;
/** Our version for each recorded one that a later request names. */
const versions = new Map<string, number>();
let pageToken = '';

/** The recorded path with our own versions and tokens in the places of the recorded ones. */
function ownPath({ request: { path } }: Exchange): string {
  return path
    .replace(/resourceVersion=(\d+)/, (text, recorded: string) => {
      const own = versions.get(recorded);
      return own === undefined ? text : `resourceVersion=${own}`;
    })
    .replace(/continue=\w+/, `continue=${pageToken}`);
}

async function labelS1(n: number): Promise<void> {
  const body = { metadata: { labels: { n: String(n) } } };
  await call(server.url, `${services}/s1`, { method: 'PATCH', body, type: 'application/merge-patch+json' });
}

/** What happened between the recorded exchanges, by the name of the exchange that it precedes or accompanies. */
const before: Readonly<Record<string, () => Promise<void> | void>> = {
  'watch at a compacted resourceVersion that the watch cache still holds': async () => {
    for (let n = 0; n < 120; n += 1) await labelS1(n);
  },
  // A server that restarts has lost its watch cache, and the compacted history can't fill it again.
  'watch from before the server restarted': () => server.compact(),
  'page token after compaction and a server restart': async () => {
    const page = await call(server.url, '/api/v1/services?limit=1');
    pageToken = page.body.metadata.continue;
    await labelS1(120);
    server.compact();
  },
};

const during: Readonly<Record<string, () => Promise<void>>> = {
  'watch from a list, with bookmarks': async () => {
    await call(server.url, services, { method: 'POST', body: service('s9') });
    const body = { metadata: { labels: { a: 'b' } } };
    await call(server.url, `${services}/s9`, { method: 'PATCH', body, type: 'application/merge-patch+json' });
    await call(server.url, `${services}/s9`, { method: 'DELETE' });
  },
};

const after: Readonly<Record<string, (answer: Answer) => void>> = {
  'list from the watch cache': answer => versions.set('240', Number(answer.body.metadata.resourceVersion)),
  'consistent list, first page': answer => {
    pageToken = answer.body.metadata.continue;
  },
  'endpointslice create': answer => versions.set('256', Number(answer.body.metadata.resourceVersion)),
};

/** The server's end at timeoutSeconds is waited for only here; elsewhere the test brings it on. */
const waitsForTimeout = 'watch from a future resourceVersion';

async function replayWatch(exchange: Exchange): Promise<void> {
  const { lines = [], name, status } = exchange;
  const reader = await WatchReader.open(server.url, ownPath(exchange));
  expect(reader.status).toBe(status);
  await during[name]?.();
  // A last bookmark comes only at the end.
  const isClosingBookmark = name === 'watch from a list, with bookmarks';
  const total = name.startsWith('watch at a compacted') ? 120 : lines.length;
  await reader.atLeast(isClosingBookmark ? total - 1 : total);
  if (name !== waitsForTimeout) server.endWatches();
  expect(await reader.ended).toBe('end');
  const got = reader.lines.map(line => normalise(line));
  const wanted = lines.map(line => normalise(line));
  // The recording leaves out the middle of the 120 events.
  if (total > lines.length) expect([...got.slice(0, 3), ...got.slice(-2)]).toEqual(wanted);
  else expect(got).toEqual(wanted);
  expectHeaders(exchange, reader.headers);
}

function expectHeaders({ headers = {} }: Exchange, got: Answer['headers']): void {
  expect(got).toMatchObject(headers);
}

async function replay(exchange: Exchange): Promise<void> {
  const { method, body, contentType } = exchange.request;
  const token = exchange.name === 'wrong token' ? 'wrong' : 'tok';
  const answer = await call(server.url, ownPath(exchange), {
    method,
    token,
    ...(body === undefined ? {} : { body }),
    ...(contentType === undefined ? {} : { type: contentType }),
  });
  expect(answer.status).toBe(exchange.status);
  expectHeaders(exchange, answer.headers);
  if (exchange.text === undefined) expect(normalise(answer.body)).toEqual(normalise(exchange.body));
  else expect(answer.text).toBe(exchange.text);
  after[exchange.name]?.(answer);
}

describe('the embedded API server answers like kube-apiserver 1.36', () => {
  beforeAll(async () => {
    server = await startApiServer({
      host: '127.0.0.1',
      port: 0,
      kubernetesService: { address: '198.51.100.10', port: 6443 },
      freshnessWaitMs: 20,
    });
  });
  afterAll(() => server.close());

  for (const exchange of vectors.exchanges) {
    test(exchange.name, async () => {
      await before[exchange.name]?.();
      if (exchange.name === 'wrong token') {
        await using strict = await startApiServer({ host: '127.0.0.1', port: 0, token: 'tok' });
        const answer = await call(strict.url, exchange.request.path, { token: 'wrong' });
        expect([answer.status, answer.body]).toEqual([exchange.status, exchange.body]);
        return;
      }
      await (exchange.lines === undefined ? replay(exchange) : replayWatch(exchange));
    });
  }
});
