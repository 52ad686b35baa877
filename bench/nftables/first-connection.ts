/**
 * first-connection.ts SERVICES RATE: from an endpoint's publication (the request leaves) to the first connection through the cluster IP that succeeds, with
 * RATE other slices changing a second. The daemon as users start it, the client on the node. Milliseconds.
 */
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../../src/linux/exec.ts';
import { startDaemon } from '../spine/daemon.ts';
import { quantiles } from './quantiles.ts';
import { ApiCaller, SliceChanger } from './slice-changer.ts';

const TRIALS = 100;
const WARM_UP = 10;
const ADDRESS = '192.0.2.10';
const PORT = 9001;
const NAMESPACE = 'bench-0';
const SLICES = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`;
const [services = '5000', rate = '0'] = process.argv.slice(2);

await run('ip', ['link', 'add', 'bench0', 'type', 'veth', 'peer', 'name', 'bench1']);
for (const name of ['bench0', 'bench1']) await run('ip', ['link', 'set', name, 'up']);
await run('ip', ['address', 'add', `${ADDRESS}/24`, 'dev', 'bench0']);
await run('ip', ['route', 'add', 'default', 'via', '192.0.2.1']);
const pod = createServer(socket => socket.on('error', () => socket.destroy()).end()).listen(PORT, ADDRESS);
await using daemon = await startDaemon({ services, variant: 'nftables' });
using api = new ApiCaller(daemon.url);

const ports = [{ name: 'p', port: 80, targetPort: PORT, protocol: 'TCP' }];
const service = { metadata: { name: 'first' }, spec: { ports } };
const path = `/api/v1/namespaces/${NAMESPACE}/services`;
const made = (await api.call({ method: 'POST', path, body: service })) as { spec: { clusterIP: string } };
const { clusterIP } = made.spec;
await api.call({
  method: 'POST',
  path: SLICES,
  body: {
    metadata: { name: 'first', labels: { 'kubernetes.io/service-name': 'first' } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: PORT, protocol: 'TCP' }],
    endpoints: [],
  },
});
const stop = new AbortController();
const churning =
  rate === '0' ? Promise.resolve() : new SliceChanger(daemon.url, Number(services)).run(Number(rate), stop.signal);
const endpoints = [{ addresses: [ADDRESS], conditions: { ready: true }, nodeName: 'node-0' }];
const times: number[] = [];
for (let trial = 0; trial < TRIALS + WARM_UP; trial += 1) {
  await until(async () => !(await connects()));
  await delay(100 + Math.random() * 100);
  const startedAt = performance.now();
  void api.call({ method: 'PATCH', path: `${SLICES}/first`, body: { endpoints } });
  await until(connects);
  if (trial >= WARM_UP) times.push(performance.now() - startedAt);
  await api.call({ method: 'PATCH', path: `${SLICES}/first`, body: { endpoints: [] } });
}
stop.abort();
await churning;
pod.close();
process.stdout.write(JSON.stringify(quantiles(times)));

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error('nothing changes for 30 s');
    await delay(0.5);
  }
}

function connects(): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: clusterIP, port: 80 });
  const end = (isConnected: boolean) => {
    clearTimeout(timer);
    socket.destroy();
    resolve(isConnected);
  };
  const timer = setTimeout(() => end(false), 250);
  socket.on('connect', () => end(true));
  socket.on('error', () => end(false));
  return promise;
}
