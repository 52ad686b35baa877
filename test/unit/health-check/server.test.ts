import { once } from 'node:events';
import { request } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import type { Model } from '../../../src/endpoints/types.ts';
import { ServiceHealthServer } from '../../../src/health-check/server.ts';
import type { Programmed } from '../../../src/sync-follower.ts';
import type { Service } from '../../../src/watch/objects.ts';
import { service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const servers: ServiceHealthServer[] = [];
const others: Server[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const server of servers.splice(0)) await server[Symbol.asyncDispose]();
  for (const other of others.splice(0)) other.close();
});

function start(addresses: readonly string[] = []) {
  const nothing: () => void = () => undefined;
  const state = { isProxyHealthy: true, addresses, failures: [] as string[], onChange: nothing };
  const log = recordedLog();
  const server = new ServiceHealthServer({
    family: 'IPv4',
    isProxyHealthy: () => state.isProxyHealthy,
    onFailure: (name, port, reason) => state.failures.push(`${name} ${port} ${reason}`),
    log,
    nodeAddresses: () => state.addresses,
    watchAddresses: async onChange => {
      state.onChange = onChange;
      return { [Symbol.dispose]: () => undefined };
    },
  });
  servers.push(server);
  return { server, state, log };
}

/** What the kernel has after a sync that wrote everything. */
function programmed(model: Model): Programmed {
  const report = { cause: 'change', isFull: false, changes: 1, failures: [], repaired: [] } as const;
  const times = { planMs: 0, applyMs: 0, queuedAtMs: 0 };
  return { model, nodePortAddresses: 'all', hasLocalhostNodePorts: false, report: { ...report, ...times } };
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: Record<string, unknown>;
  readonly body: string;
}

async function get(port: number, { host = '127.0.0.1', method = 'GET', path = '/' } = {}): Promise<Answer> {
  const outgoing = request({ host, port, method, path, agent: false }).end();
  const [response] = await once(outgoing, 'response');
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

const refusal = (port: number, host = '127.0.0.1') =>
  get(port, { host }).then(
    () => 'answered',
    error => error.code,
  );

/** Ports that nobody listens on a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  const held: Server[] = [];
  for (let i = 0; i < count; i += 1) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    held.push(server);
    ports.push((server.address() as AddressInfo).port);
  }
  for (const server of held) server.close();
  return ports;
}

async function occupy(port: number, host = '127.0.0.1'): Promise<Server> {
  const server = createServer().listen({ port, host });
  others.push(server);
  await once(server, 'listening');
  return server;
}

describe('ServiceHealthServer', () => {
  it("plays kube-proxy's script: counts, ports that come, go and change, and a proxy that isn't healthy", async () => {
    const { server, state } = start();
    const [ab = 0, cd = 0, ef = 0, ef2 = 0, gh = 0] = await freePorts(5);
    server.open('all');
    let ports: Record<string, number> = {};
    const services = (next: Record<string, number>) => {
      ports = next;
      server.syncServices(new Map(Object.entries(next)));
    };
    const endpoints = (counts: Record<string, number>) => server.syncEndpoints(new Map(Object.entries(counts)));
    const answers = async () => {
      await server.settled();
      const rows = Object.entries(ports).map(async ([name, port]) => {
        const { status, headers, body } = await get(port);
        const { localEndpoints, service: who, serviceProxyHealthy } = JSON.parse(body);
        expect(`${who.namespace}/${who.name}`).toBe(name);
        expect(serviceProxyHealthy).toBe(state.isProxyHealthy);
        expect(headers).toMatchObject({
          'content-type': 'application/json',
          'x-content-type-options': 'nosniff',
          'x-load-balancing-endpoint-weight': String(localEndpoints),
        });
        return [name, [status, localEndpoints]];
      });
      return Object.fromEntries(await Promise.all(rows));
    };
    endpoints({ 'a/b': 93 });
    expect(await answers()).toEqual({});
    services({ 'a/b': ab });
    expect(await answers()).toEqual({ 'a/b': [503, 0] });
    endpoints({ 'a/b': 18 });
    expect(await answers()).toEqual({ 'a/b': [200, 18] });
    endpoints({});
    expect(await answers()).toEqual({ 'a/b': [503, 0] });
    services({});
    await server.settled();
    expect(await refusal(ab)).toBe('ECONNREFUSED');
    services({ 'a/b': ab, 'c/d': cd, 'e/f': ef });
    endpoints({ 'a/b': 9, 'c/d': 3, 'e/f': 7 });
    expect(await answers()).toEqual({ 'a/b': [200, 9], 'c/d': [200, 3], 'e/f': [200, 7] });
    services({ 'c/d': cd, 'e/f': ef2, 'g/h': gh });
    expect(await answers()).toEqual({ 'c/d': [200, 3], 'e/f': [503, 0], 'g/h': [503, 0] });
    expect(await refusal(ef)).toBe('ECONNREFUSED');
    endpoints({ 'e/f': 7, 'g/h': 6 });
    expect(await answers()).toEqual({ 'c/d': [503, 0], 'e/f': [200, 7], 'g/h': [200, 6] });
    state.isProxyHealthy = false;
    expect(await answers()).toEqual({ 'c/d': [503, 0], 'e/f': [503, 7], 'g/h': [503, 6] });
    state.isProxyHealthy = true;
    expect(await answers()).toEqual({ 'c/d': [503, 0], 'e/f': [200, 7], 'g/h': [200, 6] });
  });

  it('answers any path and method in the text of kube-proxy', async () => {
    const { server } = start();
    const [port = 0] = await freePorts(1);
    server.open('all');
    server.update('default/web', { port, creationTimestamp: '', localEndpoints: 2 });
    await server.settled();
    const lines = ['{', '\t"service": {', '\t\t"namespace": "default",', '\t\t"name": "web"', '\t},'];
    const body = [...lines, '\t"localEndpoints": 2,', '\t"serviceProxyHealthy": true', '}'].join('\n');
    expect(await get(port, { path: '/any/path?x=1', method: 'POST' })).toMatchObject({ status: 200, body });
    expect(await get(port, { method: 'HEAD' })).toMatchObject({ status: 200, body: '' });
  });

  it('counts distinct ready addresses of this node in what is programmed, and only then listens', async () => {
    const { server } = start();
    const [port = 0] = await freePorts(1);
    const ports = ['http', 'https'].map(name => ({ name, protocol: 'TCP' as const, port: 80, nodePort: 0 }));
    const web = service({
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      healthCheckNodePort: port,
      ports,
      loadBalancerIngress: [{ ip: '192.0.2.1', ipMode: 'VIP' }],
    });
    const here = { nodeName: 'node-a' };
    const endpoints = [
      sliceEndpoint('10.244.1.2', here),
      sliceEndpoint('10.244.1.3', here),
      sliceEndpoint('10.244.1.4', { ...here, ready: false, terminating: true }),
      sliceEndpoint('10.244.2.2', { nodeName: 'node-b' }),
    ];
    const slicePorts = ports.map(({ name, protocol }, i) => ({ name, protocol, port: 8080 + i }));
    const node = { name: 'node-a', zone: '' };
    const modelOf = (item: Service, from = emptyModel('IPv4', node)) =>
      updateModel(from, snapshot([item], [slice({ ports: slicePorts, endpoints })]), ['default/web'], node);
    const first = modelOf(web);
    server.pulled(first);
    await server.settled();
    expect(await refusal(port)).toBe('ECONNREFUSED');
    // A sync that failed: the next one pulls again, without that change.
    server.pulled({ ...first, changed: new Set() });
    server.synced(programmed(first));
    await server.settled();
    expect(JSON.parse((await get(port)).body)).toMatchObject({ localEndpoints: 2 });
    const cluster = modelOf({ ...web, externalTrafficPolicy: 'Cluster' }, first);
    server.pulled(cluster);
    server.synced(programmed(cluster));
    await server.settled();
    expect(await refusal(port)).toBe('ECONNREFUSED');
  });

  it('names a port that another program has once, takes it when it is free, and serves the others meanwhile', async () => {
    const { server, state, log } = start();
    const [taken = 0, free = 0] = await freePorts(2);
    const other = await occupy(taken, '0.0.0.0');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    server.open('all');
    server.syncServices(
      new Map([
        ['a/taken', taken],
        ['a/free', free],
      ]),
    );
    await server.settled();
    vi.advanceTimersByTime(5000);
    await server.settled();
    expect(state.failures).toEqual([`a/taken ${taken} 0.0.0.0: the address is in use`]);
    expect(await get(free)).toMatchObject({ status: 503 });
    other.close();
    await once(other, 'close');
    vi.advanceTimersByTime(5000);
    await server.settled();
    expect(await get(taken)).toMatchObject({ status: 503 });
    expect(log.lines).toEqual([`info health check node port ${taken} listens after all`]);
  });

  it('gives a port that two Services ask for to the older, names the other, which takes it over', async () => {
    const { server, state } = start();
    const [port = 0] = await freePorts(1);
    server.open('all');
    const check = (year: number, localEndpoints: number) => ({
      port,
      creationTimestamp: `${year}-01-01T00:00:00Z`,
      localEndpoints,
    });
    const owner = async () => {
      await server.settled();
      return JSON.parse((await get(port)).body).service.name;
    };
    server.update('a/younger', check(2026, 1));
    expect(await owner()).toBe('younger');
    server.update('a/older', check(2025, 2));
    expect(await owner()).toBe('older');
    expect(state.failures).toEqual([`a/younger ${port} the port is that of a/older, which is older`]);
    server.update('a/older', undefined);
    expect(await owner()).toBe('younger');
    expect(await get(port)).toMatchObject({ status: 200 });
  });

  it('listens on the addresses of nodePortAddresses only, and follows them', async () => {
    const { server, state } = start(['127.0.0.2', '127.0.0.3', '127.9.0.4', '::1']);
    const [port = 0] = await freePorts(1);
    server.open(['127.0.0.0/16']);
    server.update('a/b', { port, creationTimestamp: '', localEndpoints: 1 });
    await server.settled();
    const listening = async () => {
      const hosts = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.5', '127.9.0.4'];
      const found = await Promise.all(
        hosts.map(async host => ((await refusal(port, host)) === 'answered' ? host : '')),
      );
      return found.filter(host => host !== '');
    };
    expect(await listening()).toEqual(['127.0.0.2', '127.0.0.3']);
    state.addresses = ['127.0.0.3', '127.0.0.5'];
    state.onChange();
    await server.settled();
    expect(await listening()).toEqual(['127.0.0.3', '127.0.0.5']);
    server.open(['127.9.0.0/16']);
    state.addresses = ['127.0.0.3', '127.9.0.4'];
    state.onChange();
    await server.settled();
    expect(await listening()).toEqual(['127.9.0.4']);
  });

  it('answers on for a while after a hand-over, beside the one that took over, and then frees the ports', async () => {
    const [before, after] = [start(), start()];
    const [port = 0] = await freePorts(1);
    const check = { port, creationTimestamp: '', localEndpoints: 1 };
    before.server.open('all');
    before.server.update('a/b', check);
    await before.server.settled();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    before.server.paused();
    expect(await get(port)).toMatchObject({ status: 200 });
    after.server.open('all');
    after.server.update('a/b', check);
    await after.server.settled();
    expect(after.state.failures).toEqual([]);
    vi.advanceTimersByTime(5000);
    await before.server.settled();
    for (let i = 0; i < 20; i += 1) expect(await get(port)).toMatchObject({ status: 200 });
    await after.server[Symbol.asyncDispose]();
    expect(await refusal(port)).toBe('ECONNREFUSED');
    before.server.open('all');
    await before.server.settled();
    expect(await get(port)).toMatchObject({ status: 200 });
  });
});
