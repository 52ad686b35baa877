import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError, parseRetryAfter, statusError } from '../../../src/watch/api-error.ts';
import { systemClock } from '../../../src/watch/clock.ts';
import { loadKubeConfig } from '../../../src/watch/kubeconfig.ts';
import { HttpTransport } from '../../../src/watch/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { type Exchange, ScriptedServer } from '../../fakes/scripted-server.ts';

const tlsFile = (name: string) => readFileSync(join('test/fakes/tls', name));
const base64 = (name: string) => tlsFile(name).toString('base64');

let directory: string;
let stack: AsyncDisposableStack;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kubeconfig-'));
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  rmSync(directory, { recursive: true });
});

/** Writes a kubeconfig file and returns its path. */
function kubeconfig(cluster: object, user: object | undefined = {}): string {
  const path = join(directory, 'kubeconfig');
  const context = { cluster: 'c', ...(user === undefined ? {} : { user: 'u' }) };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster }],
    users: user === undefined ? [] : [{ name: 'u', user }],
    contexts: [{ name: 'x', context }],
    'current-context': 'x',
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}
function transportOf(path: string, options: { server?: string; clock?: ManualClock } = {}): HttpTransport {
  const { server, clock = systemClock } = options;
  return stack.use(
    new HttpTransport({ loadKubeConfig: () => loadKubeConfig(path), server, userAgent: 'kproxy-ts/1', clock }),
  );
}
const plainServer = async () => stack.use(await ScriptedServer.start());
const tlsServer = async (extra: object = {}) =>
  stack.use(await ScriptedServer.start({ tls: { cert: tlsFile('server.pem'), key: tlsFile('server.key'), ...extra } }));

/** The body of a GET, as text. */
async function get(
  transport: HttpTransport,
  path = '/version',
  signal = new AbortController().signal,
): Promise<string> {
  const response = await transport.get(path, { idleDeadlineMs: 60_000, signal });
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
/** The request that arrives for a GET, after it was answered. */
async function exchangeOf(server: ScriptedServer, transport: HttpTransport, path?: string): Promise<Exchange> {
  const [exchange, text] = await Promise.all([
    server.next().then(arrived => {
      arrived.json(200, { is: 'well' });
      return arrived;
    }),
    get(transport, path),
  ]);
  expect(text).toBe('{"is":"well"}');
  return exchange;
}
async function failureOf(promise: Promise<unknown>): Promise<ApiError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ApiError)) throw new Error(`no ApiError: ${error}`);
  return error;
}

describe('credentials', () => {
  it('none, over plain HTTP, at a server with a path', async () => {
    const server = await plainServer();
    const transport = transportOf(
      kubeconfig({ server: `http://127.0.0.1:${server.port}/k8s/clusters/c-1/` }, undefined),
    );
    const { path, request } = await exchangeOf(server, transport, '/api/v1/nodes');
    expect(path).toBe('/k8s/clusters/c-1/api/v1/nodes');
    expect(request.headers).toMatchObject({ accept: 'application/json', 'user-agent': 'kproxy-ts/1' });
    expect(request.headers).not.toHaveProperty('authorization');
  });

  it.each([
    ['token', { token: 'secret' }, 'Bearer secret'],
    ['name and password', { username: 'me', password: 'pw' }, `Basic ${Buffer.from('me:pw').toString('base64')}`],
  ])('a %s', async (_what, user, expected) => {
    const server = await plainServer();
    const { request } = await exchangeOf(
      server,
      transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }, user)),
    );
    expect(request.headers.authorization).toBe(expected);
  });

  it('a token file that ends with a newline, read again when the server refuses it', async () => {
    const server = await plainServer();
    const tokenFile = join(directory, 'token');
    writeFileSync(tokenFile, 'first\n');
    const transport = transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }, { tokenFile }));
    expect((await exchangeOf(server, transport)).request.headers.authorization).toBe('Bearer first');
    writeFileSync(tokenFile, 'second\n');
    const refused = failureOf(get(transport));
    (await server.next()).json(401, { message: 'Unauthorized', code: 401 });
    expect((await refused).status).toBe(401);
    expect((await exchangeOf(server, transport)).request.headers.authorization).toBe('Bearer second');
  });

  it('a client certificate and a CA, as data or as files', async () => {
    const server = await tlsServer({ ca: tlsFile('ca.pem'), requestCert: true, rejectUnauthorized: true });
    const url = `https://127.0.0.1:${server.port}`;
    const data = { 'client-certificate-data': base64('client.pem'), 'client-key-data': base64('client.key') };
    for (const name of ['ca.pem', 'client.pem', 'client.key']) writeFileSync(join(directory, name), tlsFile(name));
    const files = { 'client-certificate': 'client.pem', 'client-key': 'client.key' };
    for (const path of [
      () => kubeconfig({ server: url, 'certificate-authority-data': base64('ca.pem') }, data),
      () => kubeconfig({ server: url, 'certificate-authority': 'ca.pem' }, files),
    ]) {
      const { request } = await exchangeOf(server, transportOf(path()));
      expect((request.socket as TLSSocket).getPeerCertificate().subject.CN).toBe('client');
    }
  });

  it('a CA without any user', async () => {
    const server = await tlsServer();
    const cluster = { server: `https://127.0.0.1:${server.port}`, 'certificate-authority-data': base64('ca.pem') };
    await exchangeOf(server, transportOf(kubeconfig(cluster, undefined)));
  });

  it('tls-server-name where the address is not in the certificate', async () => {
    const server = await tlsServer();
    const ca = { 'certificate-authority-data': base64('ca.pem') };
    const byName = { server: `https://localhost:${server.port}`, 'tls-server-name': 'kubernetes', ...ca };
    await exchangeOf(server, transportOf(kubeconfig(byName)));
  });

  it('insecure-skip-tls-verify, and without it a refusal', async () => {
    const server = await tlsServer();
    const cluster = { server: `https://127.0.0.1:${server.port}` };
    const error = await failureOf(get(transportOf(kubeconfig(cluster))));
    expect(error).toMatchObject({ kind: 'connection' });
    expect(error.message).toContain('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
    await exchangeOf(server, transportOf(kubeconfig({ ...cluster, 'insecure-skip-tls-verify': true })));
  });

  it('of a kubeconfig with another server', async () => {
    const server = await plainServer();
    const path = kubeconfig({ server: 'https://192.0.2.1:6443' }, { token: 'secret' });
    const transport = transportOf(path, { server: `http://127.0.0.1:${server.port}` });
    expect((await exchangeOf(server, transport)).request.headers.authorization).toBe('Bearer secret');
  });

  it('that cannot be had are an error before the request', async () => {
    const server = await plainServer();
    const user = {
      exec: { apiVersion: 'client.authentication.k8s.io/v1', command: join(directory, 'no-such-program') },
    };
    const transport = transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }, user));
    expect(await failureOf(get(transport))).toMatchObject({ kind: 'credentials' });
  });
});

describe('a kubeconfig', () => {
  it.each([
    ['that is missing', undefined, /^kubeconfig .*missing cannot be read: ENOENT/],
    ['without a context', '{"clusters":[]}', /names no server URL/],
    ['that is no YAML', '{', /cannot be read/],
  ])('%s ends the start', (_what, text, message) => {
    const path = join(directory, 'missing');
    if (text !== undefined) writeFileSync(path, text);
    expect(() => transportOf(path)).toThrow(message);
  });

  it('is needed outside a cluster', () => {
    expect(() => loadKubeConfig()).toThrow('no kubeconfig is given');
  });
});

describe('an answer', () => {
  it('other than 2xx is an error with what the server says', async () => {
    const server = await plainServer();
    const transport = transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }));
    const answered = async (answer: (exchange: Exchange) => void) => {
      const failed = failureOf(get(transport));
      answer(await server.next());
      return failed;
    };
    const status = { kind: 'Status', message: 'not you', reason: 'Forbidden', code: 403 };
    expect(await answered(exchange => exchange.json(403, status))).toMatchObject({
      kind: 'status',
      status: 403,
      reason: 'Forbidden',
      message: '403 not you',
    });
    const page = await answered(exchange => exchange.response.writeHead(404).end('404 page not found\n'));
    expect(page).toMatchObject({ status: 404, message: '404 404 page not found' });
    const busy = await answered(exchange => exchange.response.writeHead(503, { 'retry-after': '5' }).end());
    expect(busy).toMatchObject({ status: 503, retryAfterMs: 5000 });
    expect(await answered(exchange => exchange.response.writeHead(302, { location: '/' }).end())).toMatchObject({
      status: 302,
    });
  });

  it('that never comes because the connection broke is an error', async () => {
    const server = await plainServer();
    const failed = failureOf(get(transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }))));
    (await server.next()).destroy();
    expect(await failed).toMatchObject({ kind: 'connection', status: 0 });
  });

  it('that breaks off is an error of the body', async () => {
    const server = await plainServer();
    const failed = failureOf(get(transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }))));
    const exchange = (await server.next()).open();
    await exchange.bytes('half');
    exchange.destroy();
    expect(await failed).toMatchObject({ kind: 'connection' });
  });

  it('that does not come, and a connection that does not come, have a deadline', async () => {
    const server = await plainServer();
    const clock = new ManualClock();
    const slow = failureOf(get(transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }), { clock })));
    await server.next();
    await clock.pass(65_000);
    expect(await slow).toMatchObject({ kind: 'deadline', message: 'no answer within 65 s' });
    // A server that accepts the connection, but never says a word of TLS.
    const mute = createTcpServer().listen(0, '127.0.0.1');
    stack.defer(() => void mute.close());
    await new Promise(resolve => mute.once('listening', resolve));
    const address = mute.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const connecting = failureOf(get(transportOf(kubeconfig({ server: `https://127.0.0.1:${port}` }), { clock })));
    await clock.pass(10_000);
    expect(await connecting).toMatchObject({ kind: 'deadline', message: 'no connection within 10 s' });
    expect(clock.pending).toBe(0);
  });

  it('is not waited for after an abort', async () => {
    const server = await plainServer();
    const abort = new AbortController();
    const transport = transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }));
    const failed = failureOf(get(transport, '/', abort.signal));
    const exchange = await server.next();
    abort.abort();
    await failed;
    await exchange.closed();
  });

  it('is harmless to abort just when it is complete', async () => {
    const server = await plainServer();
    const transport = transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }));
    for (let later = 0; later < 20; later += 1) {
      const abort = new AbortController();
      const { body } = await Promise.all([
        transport.get('/', { idleDeadlineMs: 60_000, signal: abort.signal }),
        server.next().then(exchange => exchange.json(200, {})),
      ]).then(([response]) => response);
      const reading = (async () => {
        for await (const chunk of body) {
          expect(chunk).toHaveLength(2);
          for (let turn = 0; turn < later; turn += 1) await Promise.resolve();
          abort.abort();
        }
      })();
      await Promise.allSettled([reading]);
      await new Promise(setImmediate); // an error event without a listener would fail the test run now
    }
  });
});

describe('a kept connection', () => {
  it('is used again, and replaced when the server has closed it', async () => {
    const server = await plainServer();
    const transport = transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }));
    const first = await exchangeOf(server, transport);
    await new Promise(setImmediate);
    const reusing = get(transport);
    const second = await server.next();
    expect(second.request.socket).toBe(first.request.socket);
    // The connection ends under a request that the server never answered: as if it had closed a moment before.
    second.destroy();
    (await server.next()).json(200, {});
    expect(await reusing).toBe('{}');
  });
});

describe('an answer of something else than an API server', () => {
  it.each([
    [
      'a page',
      200,
      { 'content-type': 'text/html' },
      'the answer is not JSON but text/html: something else than an API server answers',
    ],
    [
      'compressed, which nobody asked for',
      200,
      { 'content-encoding': 'gzip' },
      'the answer is not JSON but application/json, compressed with gzip: something else than an API server answers',
    ],
    ['a redirect', 302, { location: '/login' }, '302 redirects to /login; not followed'],
    ['nothing', 502, {}, '502 Bad Gateway'],
  ])('(%s) is a failure that says so', async (_what, status, headers, message) => {
    const server = await plainServer();
    const failed = failureOf(get(transportOf(kubeconfig({ server: `http://127.0.0.1:${server.port}` }))));
    const { response } = await server.next();
    response.writeHead(status, headers as Record<string, string>).end();
    expect(await failed).toMatchObject({ message });
  });
});

describe('what servers say', () => {
  it('Retry-After is seconds or a date', () => {
    const now = Date.parse('2026-11-20T16:00:00Z');
    expect(parseRetryAfter('7', now)).toBe(7000);
    expect(parseRetryAfter('Fri, 20 Nov 2026 16:01:00 GMT', now)).toBe(60_000);
    expect(parseRetryAfter('Fri, 20 Nov 2026 15:00:00 GMT', now)).toBe(0);
    expect([parseRetryAfter('soon', now), parseRetryAfter(undefined, now)]).toEqual([0, 0]);
  });

  it('every recorded refusal of a real server is understood', () => {
    const { exchanges } = JSON.parse(readFileSync('test/conformance/vectors/watch.json', 'utf8')) as {
      exchanges: { status: number; body?: { reason?: string }; text?: string }[];
    };
    const refusals = exchanges.filter(exchange => exchange.status >= 400);
    expect(refusals.length).toBeGreaterThan(5);
    for (const { status, body, text } of refusals) {
      expect(statusError(status, body ?? text)).toMatchObject({ status, reason: body?.reason ?? '' });
    }
    const tooLarge = refusals.find(exchange => exchange.status === 504);
    expect(statusError(504, tooLarge?.body).retryAfterMs).toBe(1000);
  });

  it('a Status may be anything', () => {
    for (const body of [null, 'x', [], { code: 'a', details: 5 }]) expect(statusError(500, body).status).toBe(500);
    expect(statusError(500, { code: 410, message: 'gone' })).toMatchObject({ status: 410, message: '410 gone' });
  });
});
