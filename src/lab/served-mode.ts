import { join } from 'node:path';
import { DUMP_PATH, SOCKET_NAME } from '../dump/server.ts';
import { isDumpState } from '../dump/state.ts';
import { askSocket } from '../http/socket.ts';
import { runtimeDir } from './daemons.ts';

const TIMEOUT_MS = 5000;

/** The mode that a node's daemon runs in, as it says: it may have chosen by itself. undefined where none answers. */
export async function servedMode(lab: string, node: string): Promise<string | undefined> {
  const socketPath = join(runtimeDir(lab, node), SOCKET_NAME);
  const { body } = await askSocket({ socketPath, path: DUMP_PATH, timeoutMs: TIMEOUT_MS }).catch(() => ({
    body: '{}',
  }));
  const answer: unknown = JSON.parse(body);
  return isDumpState(answer) ? answer.mode : undefined;
}
