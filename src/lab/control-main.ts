/**
 * The lab's control process, bundled as dist/lab-control.mjs: `ADDRESS PORT SOCKET VALIDATION SERVICE-CIDRS`. Serves the API at the address, and hands
 * connections to the unix socket on to it, so that the lab's commands reach it from outside the namespace. VALIDATION `none`: impossible
 * objects are stored too. SIGUSR2: the history is forgotten and all watches break.
 */
import { closeSync, writeSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { startEndpointSliceController } from './apiserver/endpointslice-controller.ts';
import { startApiServer } from './apiserver/server.ts';

const [address = '', port = '0', socketPath = '', validation = 'full', serviceCIDRs = ''] = process.argv.slice(2);
process.on('SIGTERM', () => process.exit(0)); // nothing to save: the cluster is in memory
const server = await startApiServer({
  host: address,
  port: Number(port),
  serviceCIDRs: serviceCIDRs.split(','),
  kubernetesService: { address, port: Number(port) },
  validate: validation !== 'none',
});
process.on('SIGUSR2', () => {
  server.compact();
  server.dropWatches();
});
const report = (error: unknown, service: string) => process.stderr.write(`slices of ${service}: ${error}\n`);
startEndpointSliceController({ store: server.store, signal: new AbortController().signal, onError: report });
const door = createServer(outside => {
  const inside = connect(Number(port), address);
  outside.on('error', () => inside.destroy());
  inside.on('error', () => outside.destroy());
  outside.pipe(inside).pipe(outside);
});
await new Promise<void>(resolve => door.listen(socketPath, resolve));
writeSync(3, 'ready');
closeSync(3);
