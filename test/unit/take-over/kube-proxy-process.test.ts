import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { serveRoutes, TEXT } from '../../../src/http/routes.ts';
import { findKubeProxy } from '../../../src/take-over/kube-proxy-process.ts';

const NOBODY = { address: '127.0.0.1', port: 1 };
let proc = '';
const servers: Server[] = [];

beforeEach(async () => {
  proc = await mkdtemp(join(tmpdir(), 'kproxy-proc-'));
  await addProcess('self', { comm: 'node', argv: ['node'], network: 'ours' });
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await rm(proc, { recursive: true });
});

/** The network namespaces are told apart by a file each, as in the real /proc: here by hard links to it. */
const networks = new Map<string, string>();

async function addProcess(
  pid: string,
  { comm, argv, network }: { comm: string; argv: readonly string[]; network?: string },
): Promise<void> {
  const directory = join(proc, pid);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'comm'), `${comm}\n`);
  await writeFile(join(directory, 'cmdline'), argv.map(word => `${word}\0`).join(''));
  if (network === undefined) return;
  const file = join(proc, `net-${network}`);
  await mkdir(join(directory, 'net'));
  const { link } = await import('node:fs/promises');
  await writeFile(file, '', { flag: 'a' });
  networks.set(network, file);
  await link(file, join(directory, 'net', 'dev'));
}

async function serve(handler: RequestListener): Promise<{ address: string; port: number }> {
  const server = createServer(handler).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

function find(addresses: { healthz?: typeof NOBODY; metrics?: typeof NOBODY } = {}): Promise<string[]> {
  return findKubeProxy({ addresses: { healthz: NOBODY, metrics: NOBODY, ...addresses }, proc, timeoutMs: 300 });
}

it('nobody, where there is none', async () => {
  await addProcess('10', { comm: 'kube-proxy-agent', argv: ['/usr/bin/kube-proxy-agent'], network: 'ours' });
  await addProcess('11', { comm: 'vi', argv: ['vi', 'kube-proxy'], network: 'ours' });
  expect(await find()).toEqual([]);
});

it.each([
  ['by its name', { comm: 'kube-proxy', argv: ['/usr/local/bin/kube-proxy', '--config=/c'] }],
  ['by what it was started as, under another name', { comm: 'main', argv: ['/bin/kube-proxy', '--config=/c'] }],
  ['as a part of hyperkube', { comm: 'hyperkube', argv: ['/hyperkube', 'kube-proxy', '--config=/c'] }],
])('a process in our network namespace: %s', async (_, process) => {
  await addProcess('12', { ...process, network: 'ours' });
  expect(await find()).toEqual([expect.stringMatching(/^process 12 \(\S+ .*--config=\/c\)$/)]);
});

it('not one in another network namespace, nor one that is ending', async () => {
  const process = { comm: 'kube-proxy', argv: ['kube-proxy'] };
  await addProcess('13', { ...process, network: 'others' });
  await addProcess('14', process);
  expect(await find()).toEqual([]);
});

it('its ports, healthy or not; also its own defaults’ addresses when it listens on all', async () => {
  const metrics = await serve((_, response) => void response.end('ipvs'));
  const health = { lastUpdated: '2026-01-01', currentTime: '2026-01-01', nodeEligible: true };
  const healthz = await serve((_, response) => void response.writeHead(503).end(JSON.stringify(health)));
  expect(await find({ metrics, healthz: { ...healthz, address: '0.0.0.0' } })).toEqual([
    `http://127.0.0.1:${metrics.port}/proxyMode answers as kube-proxy does`,
    `http://127.0.0.1:${healthz.port}/healthz answers as kube-proxy does`,
  ]);
});

it('no daemon of ours, no other program, none that says nothing', async () => {
  const ours = await serve(serveRoutes({ '/proxyMode': () => ({ status: 200, contentType: TEXT, body: 'iptables' }) }));
  expect(await find({ metrics: ours })).toEqual([]);
  const other = await serve((_, response) => void response.end('ok'));
  expect(await find({ metrics: other, healthz: other })).toEqual([]);
  const silent = await serve(() => undefined);
  expect(await find({ metrics: silent, healthz: silent })).toEqual([]);
});
