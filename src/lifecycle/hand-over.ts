/** How the next daemon asks the one that writes to hand over: `POST /v1/hand-over` on its socket. */

import { JSON_TYPE, type Route, TEXT } from '../http/routes.ts';
import { askSocket } from '../http/socket.ts';

const HAND_OVER_PATH = '/v1/hand-over';

/** The key of the route. */
export const HAND_OVER_ROUTE = `POST ${HAND_OVER_PATH}`;

/** A sync under way is finished first, which can take seconds; the one that asks asks again. */
const ANSWER_TIMEOUT_MS = 5000;

/** The holder said no, or nothing. */
export class HandOverError extends Error {
  override readonly name = 'HandOverError';
}

/** Who asks; for the log. */
export interface Asker {
  readonly pid: number;
  readonly version: string;
}

export interface HandOverRouteOptions {
  /** Resolves when this process has drained. Rejects when it can't hand over. */
  readonly handOver: () => Promise<void>;
  readonly log: { info(fields: object, message: string): void };
}

/** Answers 200 once this process writes nothing any more and its ports are free; 409 with the reason when it doesn't hand over. */
export function handOverRoute({ handOver, log }: HandOverRouteOptions): Route {
  return async body => {
    const asker = parseAsker(body);
    if (asker === undefined)
      return { status: 400, contentType: TEXT, body: 'must be {"pid": number, "version": text}\n' };
    log.info({ asker }, `kproxy-ts ${asker.version} (process ${asker.pid}, as it counts) asks to take over: draining`);
    try {
      await handOver();
      return { status: 200, contentType: JSON_TYPE, body: JSON.stringify({ drained: true }) };
    } catch (error) {
      return { status: 409, contentType: TEXT, body: `${error instanceof Error ? error.message : String(error)}\n` };
    }
  };
}

function parseAsker(body: string): Asker | undefined {
  try {
    const asker: unknown = JSON.parse(body);
    if (typeof asker !== 'object' || asker === null || !('pid' in asker) || !('version' in asker)) return undefined;
    const { pid, version } = asker;
    return typeof pid === 'number' && typeof version === 'string' ? { pid, version } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export interface AskOptions {
  readonly socketPath: string;
  readonly asker: Asker;
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

/** Asks once; resolves when the holder has drained. @throws HandOverError with what it said, or why it said nothing */
export async function askHandOver({
  socketPath,
  asker,
  timeoutMs = ANSWER_TIMEOUT_MS,
  signal,
}: AskOptions): Promise<void> {
  const body = JSON.stringify(asker);
  const answer = await askSocket({ socketPath, path: HAND_OVER_PATH, body, timeoutMs, signal }).catch(
    (error: Error) => {
      const why = error.name === 'TimeoutError' ? `no answer for ${timeoutMs / 1000} s` : error.message;
      throw new HandOverError(why, { cause: error });
    },
  );
  if (answer.status !== 200) throw new HandOverError(answer.body.trim());
}
