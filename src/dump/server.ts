import { lstat, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { listenOnce } from '../http/listen.ts';
import { JSON_TYPE, serveRoutes } from '../http/routes.ts';
import type { DumpState } from './state.ts';

export const DUMP_PATH = '/v1/dump';
/** The socket's name in the runtime directory. */
export const SOCKET_NAME = 'daemon.sock';

/** sun_path of unix(7), without its closing NUL. */
const PATH_LIMIT = 107;
const TAKE_ATTEMPTS = 3;

/** The socket belongs to a process that lives. */
export class AnotherDaemonError extends Error {
  override readonly name = 'AnotherDaemonError';

  constructor(socketPath: string) {
    super(`another kproxy-ts runs on this node (${socketPath} answers)`);
  }
}

export interface DumpServerOptions {
  readonly socketPath: string;
  readonly state: () => Promise<DumpState> | DumpState;
  readonly log: { info(fields: object, message: string): void };
}

/**
 * Answers GET /v1/dump on a unix socket for root only, and is the sign that a daemon runs here: two of them would undo each
 * other's rules. Requests at the same time share one answer, because each costs a reading of the kernel. The socket is removed
 * at disposal.
 * @throws AnotherDaemonError when another process listens there; what a dead one left behind is replaced.
 */
export async function startDumpServer({ socketPath, state, log }: DumpServerOptions): Promise<AsyncDisposable> {
  if (Buffer.byteLength(socketPath) > PATH_LIMIT) {
    throw new TypeError(`the path of a socket can have ${PATH_LIMIT} bytes, this one has more: ${socketPath}`);
  }
  const answer = shareRunning(async () => JSON.stringify(await state()));
  const server = createServer(
    serveRoutes({ [DUMP_PATH]: async () => ({ status: 200, contentType: JSON_TYPE, body: await answer() }) }),
  );
  await takeSocket(server, { socketPath, log });
  return { [Symbol.asyncDispose]: () => close(server) };
}

/** Whoever asks while an answer is being made gets that one. */
function shareRunning<T>(make: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= make().finally(() => {
      running = undefined;
    });
    return running;
  };
}

async function takeSocket(server: Server, { socketPath, log }: Omit<DumpServerOptions, 'state'>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const failure = await listen(server, socketPath);
    if (failure === undefined) return;
    if (!('code' in failure) || failure.code !== 'EADDRINUSE' || attempt === TAKE_ATTEMPTS) throw failure;
    const before = await fileIdentity(socketPath);
    if (await isLive(socketPath)) throw new AnotherDaemonError(socketPath);
    // Another starting daemon may have replaced the dead one's file just now; that one must stay.
    if (before !== '' && before === (await fileIdentity(socketPath))) {
      await rm(socketPath, { force: true });
      log.info({ socketPath }, 'the last daemon left its socket behind; replaced');
    }
  }
}

/** What went wrong, undefined when it listens. The file is root's alone from its first moment. */
function listen(server: Server, path: string): Promise<Error | undefined> {
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

/** Whether a process listens on the socket at `path`; one that is stopped or busy counts too, and so does what can't be told. */
export function isLive(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT' && error.code !== 'ENOTSOCK');
    });
  });
}

/** '' when there is no such file. */
async function fileIdentity(path: string): Promise<string> {
  try {
    const { ino, ctimeNs } = await lstat(path, { bigint: true });
    return `${ino} ${ctimeNs}`;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}

function close(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
