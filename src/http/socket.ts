/** HTTP on a unix socket that root alone may use: how our own commands and the next daemon talk to the running one. */
import { rm } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { listenOnce } from './listen.ts';
import { type Routes, serveRoutes } from './routes.ts';

/** sun_path of unix(7), without its closing NUL. */
export const SOCKET_PATH_LIMIT = 107;
const GRACE_MS = 1000;

/**
 * Serves the routes on a socket, in the place of whatever is at `path`: the caller knows that nobody lives there, because it
 * holds the lock. At disposal no more requests are taken, the running ones get a second to finish, and the file goes.
 */
export async function serveSocket(path: string, routes: Routes): Promise<AsyncDisposable> {
  const server = createServer(serveRoutes(routes));
  await rm(path, { force: true });
  const failure = await listenPrivately(server, path);
  if (failure !== undefined) throw failure;
  return { [Symbol.asyncDispose]: () => close(server) };
}

/** What went wrong, undefined when it listens. The file is root's alone from its first moment. */
function listenPrivately(server: Server, path: string): Promise<Error | undefined> {
  return listenOnce(server, () => {
    // listen() makes the file before it returns, so nothing else sees this mask.
    const mask = process.umask(0o177);
    try {
      server.listen({ path });
    } finally {
      process.umask(mask);
    }
  });
}

async function close(server: Server): Promise<void> {
  const force = setTimeout(() => server.closeAllConnections(), GRACE_MS);
  await new Promise<void>(resolve => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
  clearTimeout(force);
}

export interface SocketRequest {
  readonly socketPath: string;
  readonly path: string;
  /** Makes it a POST. */
  readonly body?: string;
  /** For the whole answer; then it rejects with a TimeoutError. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** Asks a socket once, on a connection of its own. Rejects with the system's error when nobody answers. */
export function askSocket(asking: SocketRequest): Promise<{ readonly status: number; readonly body: string }> {
  const { socketPath, path, body } = asking;
  const timeout = AbortSignal.timeout(asking.timeoutMs);
  const signal = asking.signal === undefined ? timeout : AbortSignal.any([timeout, asking.signal]);
  const post = { method: 'POST', headers: { 'Content-Length': Buffer.byteLength(body ?? '') } };
  return new Promise((resolve, reject) => {
    // Node reports an AbortError of its own; the reason says which signal it was.
    const fail = (error: unknown) => reject(toError(signal.aborted ? signal.reason : error));
    const outgoing = request(
      { socketPath, path, agent: false, signal, ...(body === undefined ? {} : post) },
      response => {
        text(response).then(answer => resolve({ status: response.statusCode ?? 0, body: answer }), fail);
      },
    );
    outgoing.once('error', fail);
    outgoing.end(body);
  });
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
