/**
 * api-server.ts SERVICES [pages]: the embedded API server with so many Services of ten endpoints; prints its URL when it's ready.
 * `pages`: without WatchList. SIGUSR2: everything has to be listed again.
 */
import { startApiServer } from '../../src/lab/apiserver/server.ts';
import { ENDPOINTS } from './cluster.ts';

const services = Number(process.argv[2] ?? 0);
const server = await startApiServer({ host: '127.0.0.1', port: 0 });
if (process.argv[3] === 'pages') {
  for (const collection of ['/api/v1/services', '/apis/discovery.k8s.io/v1/endpointslices']) {
    server.refuse({ status: 422, path: `${collection}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true` });
  }
}
process.on('SIGUSR2', () => {
  server.compact();
  server.expireWatches();
});
const podIP = (n: number) => `10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
for (let i = 0; i < 10; i++) server.store.create('namespaces', '', { metadata: { name: `bench-${i}` } });
for (let i = 0; i < services; i++) {
  const namespace = `bench-${i % 10}`;
  const name = `svc-${i}`;
  const ports = [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }];
  server.store.create('services', namespace, { metadata: { name }, spec: { ports } });
  server.store.create('endpointslices', namespace, {
    metadata: { name, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: Array.from({ length: ENDPOINTS }, (_, j) => ({
      addresses: [podIP(i * ENDPOINTS + j + 1)],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: `node-${j % 50}`,
      targetRef: { kind: 'Pod', name: `p-${i}-${j}`, namespace },
    })),
  });
}
process.stdout.write(`${server.url}\n`);
