import { JSON_TYPE, type Route } from '../http/routes.ts';
import type { DumpState } from './state.ts';

export const DUMP_PATH = '/v1/dump';
/** The daemon's socket in the runtime directory. */
export const SOCKET_NAME = 'daemon.sock';

/** Answers GET /v1/dump. Requests at the same time share one answer, because each costs a reading of the kernel. */
export function dumpRoute(state: () => Promise<DumpState> | DumpState): Route {
  const answer = shareRunning(async () => JSON.stringify(await state()));
  return async () => ({ status: 200, contentType: JSON_TYPE, body: await answer() });
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
