/** The lab's control process: API server and EndpointSlice controller in the `control` namespace (control-main.ts), and talking to it. */
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { ApiFault } from './controlled-api.ts';
import { labProgram } from './install.ts';
import { apiAddress, apiPort, namespaceOf, serviceCIDR, serviceCIDR6 } from './layout.ts';
import { kubeconfig } from './manifests.ts';
import { launch, markedEnv } from './process.ts';
import { labDir, type StateFile } from './state.ts';

/** What the control process is started with. */
export interface ControlRequest {
  readonly address: string;
  readonly port: number;
  readonly apiSocket: string;
  readonly controlSocket: string;
  readonly validate: boolean;
  readonly serviceCIDRs: readonly string[];
}

/** Resolves when the API server answers. Without validation it stores impossible objects too. @throws when it doesn't come up */
export async function startControl(state: StateFile, { validate }: { readonly validate: boolean }): Promise<void> {
  const { name: lab, hasIPv6 } = state.current;
  const directory = labDir(lab);
  const logFile = join(directory, 'control.log');
  writeFileSync(join(directory, 'kubeconfig'), kubeconfig());
  const wanted: ControlRequest = {
    address: apiAddress,
    port: apiPort,
    apiSocket: join(directory, 'api.sock'),
    controlSocket: socketPath(lab),
    validate,
    serviceCIDRs: hasIPv6 ? [serviceCIDR, serviceCIDR6] : [serviceCIDR],
  };
  const launched = await launch({
    netns: namespaceOf(lab, 'control'),
    command: [...labProgram('control'), JSON.stringify(wanted)],
    env: markedEnv(lab),
    logFile,
    announces: true,
  });
  state.update({ control: launched.id });
  if ((await launched.announcement) !== 'ready') throw new Error(`API server ${await launched.ended}; see ${logFile}`);
}

function socketPath(lab: string): string {
  return join(labDir(lab), 'control.sock');
}

/** Makes the API server of a lab fail; resolves to the number for `endApiFault`. @throws when the control process doesn't do it */
export function beginApiFault(lab: string, fault: ApiFault): Promise<number> {
  return send(lab, 'POST /faults', fault);
}

/** Nothing happens when it is over already. */
export async function endApiFault(lab: string, id: number): Promise<void> {
  await send(lab, `DELETE /faults/${id}`);
}

/** The API server remembers what it holds now; resolves to the number for `restartApi`. */
export function takeApiSnapshot(lab: string): Promise<number> {
  return send(lab, 'POST /snapshots');
}

/** Stops and starts the API server, with its data or, back in time, with those of a snapshot. */
export async function restartApi(lab: string, snapshot?: number): Promise<void> {
  await send(lab, 'POST /restart', { snapshot });
}

async function send(lab: string, line: string, body?: object): Promise<number> {
  const [method = '', path = ''] = line.split(' ');
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const outgoing = request({ socketPath: socketPath(lab), method, path, timeout: 10_000, agent: false }, incoming => {
    const isDone = incoming.statusCode === 200;
    text(incoming).then(answer => (isDone ? resolve(answer) : reject(new Error(`${line}: ${answer}`))), reject);
  });
  outgoing.on('timeout', () => outgoing.destroy(new Error(`${line}: no answer within 10 s`)));
  outgoing.on('error', reject);
  outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  const { id }: { id: number } = JSON.parse(await promise);
  return id;
}
