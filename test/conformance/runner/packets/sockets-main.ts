/** The process with the sockets of one namespace. */
import { attemptAll } from './attempts.ts';
import { Listeners } from './listeners.ts';
import { serveCalls } from './rpc.ts';
import type { AttemptParams, ListenParams } from './sockets.ts';

const listeners = new Listeners();

serveCalls({
  listen: (params: ListenParams) => listeners.listen(params),
  arrivals: () => listeners.arrivals(),
  attempt: (params: AttemptParams) => attemptAll(params),
});
