import { mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AGENT_SOCKET, DEFERRED_DIRECTORY } from '../cni/types.ts';
import { SOCKET_NAME } from '../dump/server.ts';
import { SOCKET_PATH_LIMIT } from '../http/socket.ts';

/** The runtime directory can't be used, and so no daemon can start: without the lock two could write. */
export class RuntimeDirError extends Error {
  override readonly name = 'RuntimeDirError';

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`can't use the runtime directory ${path}: ${reason} (--runtime-dir names another)`, options);
  }
}

/** What lies in the runtime directory. */
export interface RuntimePaths {
  readonly socket: string;
  /** Locked by the process that writes. */
  readonly lock: string;
  /** Locked by the one that is about to take over. */
  readonly next: string;
  /** kube-proxy's mode in which this node was when we took it over. */
  readonly takenOver: string;
  /** Where kproxy-cni asks. */
  readonly agentSocket: string;
  /** DELs that found no agent. */
  readonly deferred: string;
}

export function runtimePaths(directory: string): RuntimePaths {
  return {
    socket: join(directory, SOCKET_NAME),
    lock: join(directory, 'lock'),
    next: join(directory, 'next'),
    takenOver: join(directory, 'taken-over'),
    agentSocket: join(directory, AGENT_SOCKET),
    deferred: join(directory, DEFERRED_DIRECTORY),
  };
}

/** Makes the directory, for root alone, and its lock files. @throws RuntimeDirError */
export async function prepareRuntimeDir(directory: string): Promise<RuntimePaths> {
  const paths = runtimePaths(directory);
  if (Buffer.byteLength(paths.socket) > SOCKET_PATH_LIMIT) {
    const bytes = SOCKET_PATH_LIMIT - SOCKET_NAME.length - 1;
    throw new RuntimeDirError(directory, `its path may have ${bytes} bytes, because of the socket in it`);
  }
  try {
    await ensureDirectory(directory);
    for (const path of [paths.lock, paths.next]) await (await open(path, 'a', 0o600)).close();
  } catch (error) {
    if (error instanceof Error && 'code' in error)
      throw new RuntimeDirError(directory, reasonOf(error), { cause: error });
    throw error;
  }
  return paths;
}

/** Not mkdir's `recursive`, which of a read-only file system says ENOENT, and of /proc nothing: it tries for ever (Node 24). */
async function ensureDirectory(path: string): Promise<void> {
  const make = () => mkdir(path, { mode: 0o700 });
  try {
    await make();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EEXIST') return; // a file in its place fails when something is opened in it
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    await ensureDirectory(dirname(path));
    await make();
  }
}

function reasonOf(error: Error & { readonly code: unknown }): string {
  switch (error.code) {
    case 'EROFS':
      return 'the file system is read-only';
    case 'EACCES':
    case 'EPERM':
      return 'not permitted';
    case 'ENOTDIR':
    case 'EEXIST':
      return 'something in its path is not a directory';
    case 'ENOSPC':
      return 'no space is left';
    default:
      return error.message;
  }
}
