import { join } from 'node:path';
import { SOCKET_NAME } from '../../dump/server.ts';
import { askSocket } from '../../http/socket.ts';
import type { Explanation } from '../explain.ts';
import { explanationText } from '../explain-text.ts';
import { typeNumber } from '../types.ts';
import { DNS_QUERY_PATH } from './query-route.ts';

export interface QueryCommandOptions {
  readonly name: string;
  /** `AAAA`, or `TYPE65` (RFC 3597 §5) for what has no name here. */
  readonly type: string;
  readonly output: 'text' | 'json';
  readonly runtimeDir: string;
}

/** Longer than the daemon tries upstream servers. */
const PATIENCE_MS = 10_000;

/** What can't be asked; the message says why. */
export class QueryError extends Error {
  override readonly name = 'QueryError';
}

/** `kproxy-ts dns query NAME [TYPE]`: the daemon's answer and where it is from. @throws QueryError */
export async function queryCommand({ name, type, output, runtimeDir }: QueryCommandOptions): Promise<void> {
  const number = typeNumber(type);
  if (number === undefined)
    throw new QueryError(`${type} is no type of record; one without a name is TYPE and its number`);
  const explanation = await askDaemon(join(runtimeDir, SOCKET_NAME), JSON.stringify({ name, type: number }));
  process.stdout.write(output === 'json' ? `${JSON.stringify(explanation, null, 2)}\n` : explanationText(explanation));
}

async function askDaemon(socketPath: string, body: string): Promise<Explanation> {
  const answer = await askSocket({ socketPath, path: DNS_QUERY_PATH, body, timeoutMs: PATIENCE_MS }).catch(
    (error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new QueryError(`no daemon that answers at ${socketPath}: ${why}`, { cause: error });
    },
  );
  if (answer.status !== 200) throw new QueryError(answer.body.trim());
  return JSON.parse(answer.body) as Explanation;
}
