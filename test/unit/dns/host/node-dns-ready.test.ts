import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import type { Configuration } from '../../../../src/config/configuration.ts';
import { parseConfiguration } from '../../../../src/config/load.ts';
import { NodeDns } from '../../../../src/dns/host/node-dns.ts';
import { createLogger } from '../../../../src/log.ts';
import type { Kind } from '../../../../src/watch/objects.ts';
import { Store } from '../../../../src/watch/store.ts';
import { freePort } from '../../../fakes/free-port.ts';
import { asking } from '../engine-lab.ts';

const KINDS: readonly Kind[] = ['Service', 'EndpointSlice', 'Node', 'Namespace'];

function listedStore(): Store {
  const store = new Store();
  store.announce(KINDS);
  for (const kind of KINDS) store.markSynced(kind);
  return store;
}

function configurationAt(port: number, workers = 1): Configuration {
  const dns = { enabled: true, service: '', listen: [`127.0.0.1:${port}`], upstreams: [], workers };
  const document = { apiVersion: 'kproxy-ts.dev/v1alpha1', kind: 'NodeConfiguration', dns };
  return parseConfiguration(JSON.stringify(document), 'the test').configuration;
}

/** A server whose cluster is known from the beginning, as after a change of the configuration, unless a store says otherwise. */
function serverAt(port: number, { workers = 1, store = listedStore() } = {}): NodeDns {
  const configuration = configurationAt(port, workers);
  const log = createLogger({ level: 'fatal' });
  return new NodeDns({ store, nodeName: 'node-a', configuration, log, networks: () => [] });
}

test('is ready when it has its sockets, not when it knows the cluster', { timeout: 20_000 }, async () => {
  const port = await freePort();
  await using server = serverAt(port);
  expect(server.missing()).toContainEqual({ part: 'dns', reason: 'nothing is listened at yet' });
  server.start();
  await expect.poll(() => server.missing(), { timeout: 10_000 }).toEqual([]);
  const client = connect(port, '127.0.0.1');
  await once(client, 'connect');
  client.destroy();
});

test('leaves its port to another process until it knows the cluster, unless it is told to listen', {
  timeout: 20_000,
}, async () => {
  const port = await freePort();
  const store = new Store();
  store.announce(KINDS);
  await using server = serverAt(port, { store });
  server.start();
  let readings = 0;
  while (readings < 20) readings += (await server.readings()).length;
  await expect(once(connect(port, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  for (const kind of KINDS) store.markSynced(kind);
  await expect.poll(() => server.missing(), { timeout: 10_000 }).toEqual([]);
  await ask(port);

  const other = await freePort();
  const unlisted = new Store();
  unlisted.announce(KINDS);
  await using early = serverAt(other, { store: unlisted });
  await early.configure(configurationAt(other));
  await ask(other);
  expect(await early.readings()).toMatchObject([{ responses: { SERVFAIL: 1 } }]);
});

test('several workers share the questions of one address', { timeout: 20_000 }, async () => {
  const port = await freePort();
  await using server = serverAt(port, { workers: 2 });
  server.start();
  await expect.poll(() => server.missing(), { timeout: 10_000 }).toEqual([]);
  for (let i = 0; i < 64; i += 1) await ask(port);
  const counts = (await server.readings()).map(({ responses }) => responses.NXDOMAIN ?? 0);
  expect(counts).toHaveLength(2);
  expect(Math.min(...counts)).toBeGreaterThan(0);
  expect(counts[0]! + counts[1]!).toBe(64);
});

/** From a port of its own; resolves when there is an answer. */
async function ask(port: number): Promise<void> {
  const socket = createSocket('udp4');
  const answer = once(socket, 'message');
  socket.send(asking('nobody.default.svc.cluster.local', 'A'), port, '127.0.0.1');
  await answer;
  socket.close();
}
