/** One question to one server: by UDP from a port of its own, again by TCP where the answer was cut. RFC 5452 §9: who answers is checked by address, port, id and question. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { UpstreamServer } from '../settings.ts';
import { type Message, readMessage } from '../wire/message.ts';
import { HEADER_BYTES } from '../wire/query.ts';

/** No answer that can be used; the message says why, for the log. */
export class ExchangeError extends Error {
  override readonly name = 'ExchangeError';

  /** Nobody listens there. */
  get isRefusal(): boolean {
    return this.cause instanceof Error && 'code' in this.cause && this.cause.code === 'ECONNREFUSED';
  }
}

export interface ServerAnswer {
  readonly bytes: Buffer;
  readonly message: Message;
}

/**
 * The server's answer. Cut short only where TCP gave nothing. @param query a question whose id doesn't matter: each exchange has its own
 * @throws ExchangeError when there is none before `signal` is aborted
 */
export async function exchange(query: Buffer, server: UpstreamServer, signal: AbortSignal): Promise<ServerAnswer> {
  const asked = Buffer.from(query);
  asked.writeUInt16BE(randomInt(65_536), 0);
  const answer = await byUdp(asked, server, signal);
  if (!answer.message.isTruncated) return answer;
  try {
    return await byTcp(asked, server, signal);
  } catch (error) {
    if (error instanceof ExchangeError && !signal.aborted) return answer;
    throw error;
  }
}

async function byUdp(asked: Buffer, { address, port }: UpstreamServer, signal: AbortSignal): Promise<ServerAnswer> {
  const found = Promise.withResolvers<ServerAnswer>();
  const fail = (error: Error) => found.reject(exchangeError(address, error));
  const give = () => found.reject(new ExchangeError(`${address} doesn't answer`));
  if (signal.aborted) throw new ExchangeError(`${address} isn't asked any more`);
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  signal.addEventListener('abort', give, { once: true });
  socket.on('error', fail);
  socket.on('message', bytes => {
    const answer = answerTo(asked, bytes);
    // What doesn't fit is somebody's guess: the right one may still come.
    if (answer !== undefined) found.resolve(answer);
  });
  // A connected socket takes datagrams from its peer only, and hears that nobody listens there.
  socket.on('connect', () => socket.send(asked));
  try {
    socket.connect(port, address);
    return await found.promise;
  } finally {
    signal.removeEventListener('abort', give);
    socket.removeAllListeners('connect');
    socket.close();
  }
}

async function byTcp(asked: Buffer, { address, port }: UpstreamServer, signal: AbortSignal): Promise<ServerAnswer> {
  const socket = connect({ host: address, port, noDelay: true, signal });
  try {
    await once(socket, 'connect', { signal });
    const length = Buffer.of(asked.length >> 8, asked.length & 255);
    socket.write(Buffer.concat([length, asked]));
    let bytes = Buffer.alloc(0);
    for await (const chunk of socket) {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      if (bytes.length < 2 || bytes.length < 2 + bytes.readUInt16BE(0)) continue;
      const answer = answerTo(asked, bytes.subarray(2, 2 + bytes.readUInt16BE(0)));
      if (answer !== undefined) return answer;
      throw new ExchangeError(`${address}: an answer to another question`);
    }
    throw new ExchangeError(`${address} closes the connection`);
  } catch (error) {
    throw error instanceof ExchangeError ? error : exchangeError(address, error);
  } finally {
    // What is still to come of it is nobody's.
    socket.on('error', () => undefined);
    socket.destroy();
  }
}

function exchangeError(address: string, cause: unknown): ExchangeError {
  return new ExchangeError(`${address}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}

/** The message when it answers the question: the same id, name (in its letters' case), type and class. */
function answerTo(asked: Buffer, bytes: Buffer): ServerAnswer | undefined {
  const message = readMessage(bytes);
  if (message === undefined || message.id !== asked.readUInt16BE(0)) return undefined;
  const end = message.nameEnd + 4;
  if (!bytes.subarray(HEADER_BYTES, end).equals(asked.subarray(HEADER_BYTES, end))) return undefined;
  return { bytes, message };
}
