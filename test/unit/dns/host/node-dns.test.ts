import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { parseConfiguration } from '../../../../src/config/load.ts';
import { NodeDns } from '../../../../src/dns/host/node-dns.ts';
import { createLogger } from '../../../../src/log.ts';
import type { Kind } from '../../../../src/watch/objects.ts';
import { Store } from '../../../../src/watch/store.ts';
import { asking } from '../engine-lab.ts';

const KINDS: readonly Kind[] = ['Service', 'EndpointSlice', 'Node', 'Namespace'];

/** One that nobody has at this moment. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

/** The server with a cluster that is known from the beginning, as after a change of the configuration. */
function serverAt(port: number, workers = 1): NodeDns {
  const text = `apiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\ndns: {enabled: true, service: "", listen: ["127.0.0.1:${port}"], upstreams: [], workers: ${workers}}\n`;
  const { configuration } = parseConfiguration(text, 'the test');
  const store = new Store();
  store.announce(KINDS);
  for (const kind of KINDS) store.markSynced(kind);
  const log = createLogger({ level: 'fatal' });
  return new NodeDns({ store, nodeName: 'node-a', configuration, log, networks: () => [] });
}

test('is ready when it has its sockets, not when it knows the cluster', async () => {
  const port = await freePort();
  await using server = serverAt(port);
  expect(server.missing()).toMatchObject([{ part: 'dns' }]);
  server.start();
  while (server.missing().length > 0) await setImmediate();
  const client = connect(port, '127.0.0.1');
  await once(client, 'connect');
  client.destroy();
});

test('several workers share the questions of one address', async () => {
  const port = await freePort();
  await using server = serverAt(port, 2);
  server.start();
  while (server.missing().length > 0) await setImmediate();
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
