/**
 * The lab's control process, bundled as dist/lab-control.mjs; its one argument is a ControlRequest as JSON. Serves the API at the address,
 * hands connections to `api.sock` on to it, so that the lab's commands reach it from outside the namespace, and takes faults and
 * restarts of the API server at `control.sock`.
 */
import { closeSync, writeSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { startEndpointSliceController } from './apiserver/endpointslice-controller.ts';
import type { ControlRequest } from './control.ts';
import { startControlServer } from './control-server.ts';
import { ControlledApi } from './controlled-api.ts';

const { address, port, apiSocket, controlSocket, validate, serviceCIDRs }: ControlRequest = JSON.parse(
  process.argv[2] ?? '{}',
);
process.on('SIGTERM', () => process.exit(0)); // nothing to save: the cluster is in memory
const api = await ControlledApi.start({
  host: address,
  port,
  serviceCIDRs,
  kubernetesService: { address, port },
  validate,
});
const report = (error: unknown, service: string) => process.stderr.write(`slices of ${service}: ${error}\n`);
startEndpointSliceController({ store: api.store, signal: new AbortController().signal, onError: report });
const door = createServer(outside => {
  const inside = connect(port, address);
  outside.on('error', () => inside.destroy());
  inside.on('error', () => outside.destroy());
  outside.pipe(inside).pipe(outside);
});
await new Promise<void>(resolve => door.listen(apiSocket, resolve));
await startControlServer(controlSocket, api);
writeSync(3, 'ready');
closeSync(3);
