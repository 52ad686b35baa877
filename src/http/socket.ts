/** HTTP on a unix socket that root alone may use: how our own commands and the next daemon talk to the running one. */
import { rm } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { closeServer, listenOnce } from './listen.ts';
import { type Routes, serveRoutes } from './routes.ts';

/** sun_path of unix(7), without its closing NUL. */
export const SOCKET_PATH_LIMIT = 107;

/**
 * Serves the routes on a socket, in the place of whatever is at `path`: the caller knows that nobody lives there, because it
 * holds the lock. At disposal no more requests are taken, the running ones get a second to finish, and the file goes.
 */
export async function serveSocket(path: string, routes: Routes): Promise<AsyncDisposable> {
  const server = createServer(serveRoutes(routes));
  await rm(path, { force: true });
  const failure = await listenPrivately(server, path);
  if (failure !== undefined) throw failure;
  return { [Symbol.asyncDispose]: () => closeServer(server) };
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

export interface SocketAnswer {
  readonly status: number;
  readonly body: string;
}

/** Somebody listens, and doesn't answer. */
export class SocketTimeoutError extends Error {
  override readonly name = 'SocketTimeoutError';

  constructor(ms: number) {
    super(`no answer for ${ms / 1000} s`);
  }
}

export interface SocketRequest {
  readonly socketPath: string;
  readonly path: string;
  /** Makes it a POST. */
  readonly body?: string;
  /** For the whole answer; then it rejects with a SocketTimeoutError. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** Asks a socket once, on a connection of its own. Rejects with the system's error when nobody answers. */
export async function askSocket({ socketPath, path, body, timeoutMs, signal }: SocketRequest): Promise<SocketAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<SocketAnswer>();
  const post = { method: 'POST', headers: { 'Content-Length': Buffer.byteLength(body ?? '') } };
  const outgoing = request({ socketPath, path, agent: false, ...(body === undefined ? {} : post) }, response => {
    text(response).then(answer => resolve({ status: response.statusCode ?? 0, body: answer }), reject);
  });
  const giveUp = (error: Error) => {
    reject(error);
    outgoing.destroy();
  };
  const abort = () => giveUp(toError(signal?.reason));
  const timer = setTimeout(() => giveUp(new SocketTimeoutError(timeoutMs)), timeoutMs);
  signal?.addEventListener('abort', abort);
  outgoing.on('error', reject).end(body);
  if (signal?.aborted === true) abort();
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
