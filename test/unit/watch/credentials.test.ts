/** Credentials that change while we run, against servers that insist on them. */
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startApiServer } from '../../../src/lab/apiserver/server.ts';
import { ApiError } from '../../../src/watch/api-error.ts';
import { startApiSource } from '../../../src/watch/api-source.ts';
import { type Clock, systemClock } from '../../../src/watch/clock.ts';
import { loadKubeConfig } from '../../../src/watch/kubeconfig.ts';
import { Store } from '../../../src/watch/store.ts';
import { HttpTransport } from '../../../src/watch/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';
import { type Exchange, ScriptedServer } from '../../fakes/scripted-server.ts';

const tlsFile = (name: string) => join('test/fakes/tls', name);
const pem = (name: string) => readFileSync(tlsFile(name), 'utf8');
const tls = { key: pem('server.key'), cert: pem('server.pem') };

let directory: string;
let stack: AsyncDisposableStack;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'credentials-'));
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  vi.useRealTimers();
  await stack.disposeAsync();
  rmSync(directory, { recursive: true });
});

const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
/** A kubeconfig file of one user. */
function kubeconfig(cluster: object, user: object): string {
  const config = {
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  write('kubeconfig', JSON.stringify(config));
  return join(directory, 'kubeconfig');
}
function transportOf(load: () => ReturnType<typeof loadKubeConfig>, clock: Clock = systemClock): HttpTransport {
  return stack.use(new HttpTransport({ loadKubeConfig: load, userAgent: 'test', clock }));
}
const ofFile = (path: string, clock?: Clock) => transportOf(() => loadKubeConfig(path), clock);
const { signal } = new AbortController();
async function get(transport: HttpTransport, path = '/version'): Promise<string> {
  const { body } = await transport.get(path, { signal });
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (error: unknown) => (error instanceof ApiError ? `${error.kind}: ${error.message}` : String(error)),
  );
/** Answers one request of the transport and shows it. */
async function asked(server: ScriptedServer, transport: HttpTransport, status = 200): Promise<Exchange> {
  const answer = failure(get(transport));
  const exchange = await server.next();
  exchange.json(status, { code: status });
  await answer;
  return exchange;
}
const authorization = ({ request }: Exchange) => request.headers.authorization;

/** A pod's files under `directory`. */
function place(port: string, host = '127.0.0.1') {
  const files = join(directory, 'var/run/secrets/kubernetes.io/serviceaccount');
  mkdirSync(files, { recursive: true });
  copyFileSync(tlsFile('ca.pem'), join(files, 'ca.crt'));
  const setToken = (token: string) => writeFileSync(join(files, 'token'), token);
  setToken('first');
  const env = { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port };
  return { files, setToken, where: { env, root: directory } };
}
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(setImmediate);
}

describe('in a pod', () => {
  it('the service account is used over TLS, and its token may be rotated while watches are open', async () => {
    const api = stack.use(await startApiServer({ host: '127.0.0.1', port: 0, tls, token: 'first' }));
    const pod = place(new URL(api.url).port);
    const store = new Store();
    const log = recordedLog();
    const source = stack.use(await startApiSource({ place: pod.where, store, log, signal }));
    await store.synced;
    api.requireToken('second');
    pod.setToken('second\n');
    api.dropWatches();
    api.store.create('nodes', '', { metadata: { name: 'n1' } });
    await until(() => store.snapshot.nodes.has('n1'));
    expect(source.stats.Node.relists).toBe(0);
    expect(log.lines.some(line => line.includes('401 Unauthorized'))).toBe(true);
  }, 20_000);

  it('a token is read again after a minute, before the old one is refused; a CA at each request', async () => {
    const server = stack.use(await ScriptedServer.start({ tls }));
    const pod = place(String(server.port));
    const transport = transportOf(() => loadKubeConfig(undefined, pod.where));
    vi.useFakeTimers({ toFake: ['Date'] });
    expect(authorization(await asked(server, transport))).toBe('Bearer first');
    pod.setToken('second');
    vi.advanceTimersByTime(59_000);
    expect(authorization(await asked(server, transport))).toBe('Bearer first');
    vi.advanceTimersByTime(2000);
    expect(authorization(await asked(server, transport))).toBe('Bearer second');
    copyFileSync(tlsFile('client.pem'), join(pod.files, 'ca.crt'));
    expect(await failure(get(transport))).toMatch(/^connection: .*UNABLE_TO_VERIFY/);
    copyFileSync(tlsFile('ca.pem'), join(pod.files, 'ca.crt'));
    expect(authorization(await asked(server, transport))).toBe('Bearer second');
  });

  it('the server may have an IPv6 address, or the usual port', () => {
    const server = (host: string, port?: string) => {
      const { where } = place('6443', host);
      const env = { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port };
      return loadKubeConfig(undefined, { ...where, env }).getCurrentCluster()?.server;
    };
    expect(server('fd00:10:96::1', '6443')).toBe('https://[fd00:10:96::1]:6443');
    expect(server('10.96.0.1')).toBe('https://10.96.0.1:443');
    expect(server('kubernetes.default', '8080')).toBe('https://kubernetes.default:8080');
  });

  it('without a service account there is no start', () => {
    const { where, files } = place('6443');
    expect(() => loadKubeConfig(undefined, { ...where, env: {} })).toThrow('no pod with a service account');
    rmSync(join(files, 'token'));
    expect(() => loadKubeConfig(undefined, where)).toThrow('no pod with a service account');
  });
});

it('a client certificate that is replaced on disk is used by the next connection', async () => {
  const server = stack.use(
    await ScriptedServer.start({ tls: { ...tls, ca: pem('ca.pem'), requestCert: true, rejectUnauthorized: true } }),
  );
  const cluster = { server: `https://127.0.0.1:${server.port}`, 'certificate-authority': 'ca.pem' };
  for (const name of ['ca.pem', 'client.key']) copyFileSync(tlsFile(name), join(directory, name));
  copyFileSync(tlsFile('client.key'), join(directory, 'client.key'));
  const path = kubeconfig(cluster, { 'client-certificate': 'now.pem', 'client-key': 'now.key' });
  const use = (name: string) => {
    copyFileSync(tlsFile(`${name}.pem`), join(directory, 'now.pem'));
    copyFileSync(tlsFile(`${name}.key`), join(directory, 'now.key'));
  };
  const transport = ofFile(path);
  const subject = async () =>
    ((await asked(server, transport)).request.socket as TLSSocket).getPeerCertificate().subject?.CN;
  use('client');
  expect(await subject()).toBe('client');
  use('server');
  const other = await Promise.race([failure(get(transport)), server.next()]);
  expect(other).not.toBe('none');
  if (typeof other !== 'string') other.destroy();
  use('client');
  expect(await subject()).toBe('client');
});

describe('an exec plugin', () => {
  /** A plugin that counts its calls and names each token after it. */
  function plugin(status: string): { user: object; calls: () => number } {
    write(
      'plugin',
      `#!/bin/sh\necho "$KUBERNETES_EXEC_INFO" >>${directory}/calls\nn=$(wc -l <${directory}/calls)\n${status}\n`,
    );
    chmodSync(join(directory, 'plugin'), 0o755);
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: './plugin', interactiveMode: 'Never' };
    return { user: { exec }, calls: () => readFileSync(join(directory, 'calls'), 'utf8').trim().split('\n').length };
  }
  const credential = (expires: string) => `echo '{"kind":"ExecCredential","status":{"token":"token-'$n'"${expires}}}'`;

  it('is asked once for as long as its token lasts, and again when the server refuses that', async () => {
    const server = stack.use(await ScriptedServer.start());
    const { user, calls } = plugin(credential(',"expirationTimestamp":"2999-01-01T00:00:00Z"'));
    const transport = ofFile(kubeconfig({ server: `http://127.0.0.1:${server.port}` }, user));
    for (let n = 0; n < 3; n += 1) expect(authorization(await asked(server, transport))).toBe('Bearer token-1');
    expect(calls()).toBe(1);
    await asked(server, transport, 401);
    expect(authorization(await asked(server, transport))).toBe('Bearer token-2');
    expect(JSON.parse(readFileSync(join(directory, 'calls'), 'utf8').split('\n')[0] ?? '')).toEqual({
      kind: 'ExecCredential',
      apiVersion: 'client.authentication.k8s.io/v1',
      spec: { interactive: false },
    });
  });

  it('is asked again when its token has expired', async () => {
    const server = stack.use(await ScriptedServer.start());
    const { user } = plugin(credential(',"expirationTimestamp":"2001-01-01T00:00:00Z"'));
    const transport = ofFile(kubeconfig({ server: `http://127.0.0.1:${server.port}` }, user));
    for (const n of [1, 2]) expect(authorization(await asked(server, transport))).toBe(`Bearer token-${n}`);
  });

  it('that fails, or hangs, is a failure of credentials', async () => {
    const { user } = plugin('echo "no cloud today" >&2; exit 1');
    const transport = ofFile(kubeconfig({ server: 'http://127.0.0.1:9' }, user));
    const prefix = 'credentials: no credentials for the API server:';
    expect(await failure(get(transport))).toBe(`${prefix} no cloud today`);
    const clock = new ManualClock();
    const hanging = plugin(`read forever`);
    const waiting = failure(get(ofFile(kubeconfig({ server: 'http://127.0.0.1:9' }, hanging.user), clock)));
    await clock.pass(65_000);
    expect(await waiting).toBe(`${prefix} none within 65 s`);
    expect(clock.pending).toBe(0);
  });
});

describe('a proxy', () => {
  /** A proxy that tunnels by CONNECT, and what it was asked for. */
  async function startProxy(): Promise<{ url: string; targets: string[]; server: Server }> {
    const targets: string[] = [];
    const server = createServer();
    server.on('connect', ({ url = '' }, socket, head) => {
      targets.push(url);
      const [host, port] = url.split(':');
      const upstream = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        upstream.write(head);
        socket.pipe(upstream).pipe(socket);
      });
      for (const [one, other] of [
        [socket, upstream],
        [upstream, socket],
      ] as const)
        one.on('error', () => other.destroy());
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    stack.defer(() => void server.close());
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, targets, server };
  }

  it.each(['https', 'http'])('carries requests and watches to an %s server', async scheme => {
    const server = stack.use(await ScriptedServer.start(scheme === 'https' ? { tls } : {}));
    const proxy = await startProxy();
    copyFileSync(tlsFile('ca.pem'), join(directory, 'ca.pem'));
    const ca = scheme === 'https' ? { 'certificate-authority': 'ca.pem' } : {};
    const cluster = { server: `${scheme}://127.0.0.1:${server.port}`, 'proxy-url': proxy.url, ...ca };
    const transport = ofFile(kubeconfig(cluster, { token: 'secret' }));
    expect(authorization(await asked(server, transport))).toBe('Bearer secret');
    const watching = transport.get('/api/v1/services?watch=1', { signal });
    const exchange = (await server.next()).open();
    const { body } = await watching;
    const reading = body[Symbol.asyncIterator]();
    for (const text of ['one\n', 'two\n']) {
      await exchange.bytes(text);
      expect(String((await reading.next()).value)).toBe(text);
    }
    exchange.end();
    expect((await reading.next()).done).toBe(true);
    expect(new Set(proxy.targets)).toEqual(new Set([`127.0.0.1:${server.port}`]));
  });

  it('that is away is a failure of the connection', async () => {
    const cluster = { server: 'https://127.0.0.1:9', 'proxy-url': 'http://127.0.0.1:9' };
    expect(await failure(get(ofFile(kubeconfig(cluster, {}))))).toMatch(/^connection: .*ECONNREFUSED/);
  });
});

it('a kubeconfig that names another server is followed when the old one is not reached', async () => {
  const server = stack.use(await ScriptedServer.start());
  const path = kubeconfig({ server: 'http://127.0.0.1:1' }, {});
  const transport = ofFile(path);
  expect(await failure(get(transport))).toContain('ECONNREFUSED');
  rmSync(path);
  expect(await failure(get(transport))).toContain(`kubeconfig ${path} cannot be read`);
  kubeconfig({ server: `http://127.0.0.1:${server.port}` }, { token: 'new' });
  expect(authorization(await asked(server, transport))).toBe('Bearer new');
});

it('a user who acts as another says so in every request, groups and all', async () => {
  const server = stack.use(await ScriptedServer.start());
  const user = {
    token: 't',
    as: 'system:kube-proxy',
    'as-groups': ['system:nodes', 'system:authenticated'],
    'as-uid': 'u-1',
    'as-user-extra': { 'example.org/scope': ['a', 'b'] },
  };
  const transport = ofFile(kubeconfig({ server: `http://127.0.0.1:${server.port}` }, user));
  const { request } = await asked(server, transport);
  const sent = Object.entries(request.headersDistinct).filter(([name]) => name.startsWith('impersonate'));
  expect(Object.fromEntries(sent)).toEqual({
    'impersonate-user': ['system:kube-proxy'],
    'impersonate-group': ['system:nodes', 'system:authenticated'],
    'impersonate-uid': ['u-1'],
    'impersonate-extra-example.org%2fscope': ['a', 'b'],
  });
});
