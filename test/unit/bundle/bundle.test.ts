/**
 * The bundle leaves out parts of packages that are never reached (scripts/bundle.mjs). These programs are bundled with the
 * same options and run, so that a part which is reached after all, or after an upgrade, is noticed.
 */
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type BuildOptions, build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';

const { bundleOptions } = (await import('../../../scripts/bundle.mjs' as string)) as { bundleOptions: BuildOptions };
const root = join(import.meta.dirname, '../../..');
let directory = '';
const servers: Server[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kproxy-bundle-'));
});

afterAll(async () => {
  for (const server of servers) await new Promise(resolve => server.close(resolve));
  await rm(directory, { recursive: true });
});

/** Bundles a program and runs it; what it prints is JSON. */
async function run(name: string, program: string, env: Record<string, string> = {}): Promise<unknown> {
  await build({
    ...bundleOptions,
    stdin: { contents: program, resolveDir: root, loader: 'ts', sourcefile: `${name}.ts` },
    outdir: join(directory, name),
    entryNames: name,
  });
  const file = join(directory, name, `${name}.mjs`);
  const { stdout } = await promisify(execFile)(process.execPath, [file], { env: { ...process.env, ...env } });
  return JSON.parse(stdout);
}

/** A server on 127.0.0.1 that notes what it is asked, and who asks for a tunnel to it. */
async function serve(seen: IncomingMessage[]): Promise<string> {
  const server = createServer((request, response) => {
    seen.push(request);
    response.end('{"kind":"ServiceList"}');
  });
  server.on('connect', (request: IncomingMessage, client: Socket) => {
    seen.push(request);
    const tunnel = connect((server.address() as AddressInfo).port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      client.pipe(tunnel).pipe(client);
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function kubeconfig(name: string, cluster: object, user: object): Promise<string> {
  const path = join(directory, `${name}.kubeconfig`);
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  await writeFile(path, JSON.stringify(config));
  return path;
}

const GET = `
  import http from 'node:http';
  import https from 'node:https';
  import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
  const config = new KubeConfig();
  config.loadFromFile(process.env.CONFIG_FILE);
  const options = {};
  await config.applyToHTTPSOptions(options);
  const plain = value => Buffer.isBuffer(value) ? value.toString() : value;
  const show = ['ca', 'cert', 'key', 'servername', 'rejectUnauthorized', 'headers'];
  const shown = Object.fromEntries(show.map(name => [name, plain(options[name])]));
  const result = { ...shown, agent: options.agent?.constructor.name };
  const server = new URL(config.getCurrentCluster().server);
  if (server.protocol === 'https:') console.log(JSON.stringify(result));
  else http.get(new URL('/api/v1/services', server), options, async response => {
    let body = '';
    for await (const chunk of response) body += chunk;
    console.log(JSON.stringify({ ...result, body }));
  });
`;

test('an exec plugin gives the token of a request that goes through proxy-url', { timeout: 20_000 }, async () => {
  const seen: IncomingMessage[] = [];
  const proxy = await serve(seen);
  const plugin = join(directory, 'plugin.sh');
  const credential = {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    status: { token: 'secret' },
  };
  await writeFile(plugin, `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`);
  await chmod(plugin, 0o755);
  const exec = { apiVersion: credential.apiVersion, command: plugin, interactiveMode: 'Never' };
  const cluster = { server: 'http://api.invalid', 'proxy-url': `http://${proxy}`, 'insecure-skip-tls-verify': true };
  const path = await kubeconfig('exec', cluster, { exec });
  expect(await run('exec', GET, { CONFIG_FILE: path })).toMatchObject({
    agent: expect.stringMatching(/^HttpProxyAgent/),
    headers: { Authorization: 'Bearer secret' },
    body: '{"kind":"ServiceList"}',
  });
  expect(seen.map(({ method, url, headers }) => [method, url, headers.authorization])).toEqual([
    ['CONNECT', 'api.invalid:80', undefined],
    ['GET', '/api/v1/services', 'Bearer secret'],
  ]);
});

test('certificates and the server name reach the options of node:https', { timeout: 20_000 }, async () => {
  const data = (text: string) => Buffer.from(text).toString('base64');
  const cluster = {
    server: 'https://127.0.0.1:1',
    'certificate-authority-data': data('the ca'),
    'tls-server-name': 'kubernetes',
  };
  const user = { 'client-certificate-data': data('the cert'), 'client-key-data': data('the key') };
  const path = await kubeconfig('tls', cluster, user);
  expect(await run('tls', GET, { CONFIG_FILE: path })).toMatchObject({
    ca: 'the ca',
    cert: 'the cert',
    key: 'the key',
    servername: 'kubernetes',
    agent: 'Agent',
  });
});

test.each([
  ['http://127.0.0.1:1', 'HttpsProxyAgent'],
  ['socks5://127.0.0.1:1', 'SocksProxyAgent'],
])('an https server behind %s gets a %s', { timeout: 20_000 }, async (proxy, agent) => {
  const path = await kubeconfig(agent, { server: 'https://127.0.0.1:1', 'proxy-url': proxy }, { token: 't' });
  expect(await run(agent, GET, { CONFIG_FILE: path })).toMatchObject({ agent: expect.stringContaining(agent) });
});

test('what was left out says so', { timeout: 20_000 }, async () => {
  const program = `
    import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
    const config = new KubeConfig();
    config.loadFromClusterAndUser({ name: 'c', server: 'https://127.0.0.1:1', caData: 'eA==' }, { name: 'u' });
    let message = '';
    try { await config.applySecurityAuthentication({}); } catch (error) { message = error.message; }
    console.log(JSON.stringify(message));
  `;
  expect(await run('refused', program)).toMatch(/undici is not part of the kproxy-ts bundle/);
});

test("Node's own modules work by name, by default and by require", { timeout: 20_000 }, async () => {
  const program = `
    import fs, { existsSync } from 'node:fs';
    import * as path from 'path';
    import { setTimeout as delay } from 'node:timers/promises';
    import EventEmitter, { once } from 'node:events';
    import { createMetrics } from './src/metrics.ts';
    const { default: http, createServer } = await import('node:http');
    const sqlite = await import('node:sqlite');
    await delay(1);
    const emitter = new EventEmitter();
    setTimeout(() => emitter.emit('x', 1), 1);
    const [value] = await once(emitter, 'x');
    const { registry } = createMetrics('0.0.0');
    console.log(JSON.stringify({
      value, same: fs.existsSync === existsSync, joined: path.join('a', 'b'), http: http.createServer === createServer,
      sqlite: typeof sqlite.DatabaseSync, metrics: (await registry.metrics()).includes('kproxy_'),
    }));
  `;
  expect(await run('builtins', program)).toEqual({
    value: 1,
    same: true,
    joined: 'a/b',
    http: true,
    sqlite: 'function',
    metrics: true,
  });
});
