/**
 * The door to the control process: HTTP on a unix socket. `POST /faults` with an ApiFault, `POST /snapshots` and `POST /restart` with
 * `{snapshot?}` answer `{id}`; `DELETE /faults/ID` ends a fault. Errors are answered as text.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import type { ApiFault, ControlledApi } from './controlled-api.ts';

/** Resolves when it listens. */
export async function startControlServer(socketPath: string, api: ControlledApi): Promise<void> {
  const server = createServer((request, response) => void answer(api, request, response));
  server.listen(socketPath);
  await once(server, 'listening');
}

async function answer(api: ControlledApi, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const id = await perform(api, request);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ id }));
  } catch (error) {
    response
      .writeHead(400, { 'content-type': 'text/plain' })
      .end(error instanceof Error ? error.message : String(error));
  }
}

async function perform(api: ControlledApi, request: IncomingMessage): Promise<number> {
  const [, collection = '', id = '0'] = (request.url ?? '').split('/');
  switch (`${request.method} ${collection}`) {
    case 'POST faults':
      return api.begin((await json(request)) as ApiFault);
    case 'DELETE faults':
      await api.end(Number(id));
      return Number(id);
    case 'POST snapshots':
      return api.takeSnapshot();
    case 'POST restart': {
      const { snapshot } = (await json(request)) as { snapshot?: number };
      await api.restart(snapshot);
      return 0;
    }
    default:
      throw new Error(`unknown request: ${request.method} ${request.url}`);
  }
}
