/** One question to one server: by UDP from a port of its own, again by TCP where the answer was cut. RFC 5452 §9: who answers is checked by address, port, id and question. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { readMessage } from '../wire/message.ts';
import { FLAG, HEADER_BYTES } from '../wire/query.ts';

export interface Server {
  readonly address: string;
  readonly port: number;
}

/** No answer that can be used; the message says why, for the log. */
export class ExchangeError extends Error {
  override readonly name = 'ExchangeError';
}

/**
 * The server's answer, with the id that was asked with. @param query a question whose id doesn't matter: each exchange has its own
 * @throws ExchangeError when there is none within `signal`'s time
 */
export async function exchange(query: Buffer, server: Server, signal: AbortSignal): Promise<Buffer> {
  const asked = Buffer.from(query);
  asked.writeUInt16BE(randomInt(65_536), 0);
  const answer = await byUdp(asked, server, signal);
  return (answer.readUInt16BE(2) & FLAG.truncated) === 0 ? answer : byTcp(asked, server, signal);
}

async function byUdp(asked: Buffer, { address, port }: Server, signal: AbortSignal): Promise<Buffer> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const found = Promise.withResolvers<Buffer>();
  const give = () => found.reject(new ExchangeError(`${address} doesn't answer`));
  signal.addEventListener('abort', give, { once: true });
  socket.on('error', error => found.reject(new ExchangeError(`${address}: ${error.message}`, { cause: error })));
  // What doesn't fit is somebody's guess: the right one may still come.
  socket.on('message', message => (isAnswer(message, asked) ? found.resolve(message) : undefined));
  // A connected socket takes datagrams from its peer only, and hears that nobody listens there.
  socket.connect(port, address, () => socket.send(asked));
  try {
    signal.throwIfAborted();
    return await found.promise;
  } finally {
    signal.removeEventListener('abort', give);
    socket.close();
  }
}

async function byTcp(asked: Buffer, { address, port }: Server, signal: AbortSignal): Promise<Buffer> {
  const socket = connect({ host: address, port, noDelay: true, signal });
  const length = Buffer.alloc(2);
  length.writeUInt16BE(asked.length);
  try {
    await once(socket, 'connect', { signal });
    socket.write(Buffer.concat([length, asked]));
    let bytes = Buffer.alloc(0);
    for await (const chunk of socket) {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      if (bytes.length < 2 || bytes.length < 2 + bytes.readUInt16BE(0)) continue;
      const message = bytes.subarray(2, 2 + bytes.readUInt16BE(0));
      if (isAnswer(message, asked)) return message;
      throw new ExchangeError(`${address}: an answer to another question`);
    }
    throw new ExchangeError(`${address} closes the connection`);
  } catch (error) {
    if (error instanceof ExchangeError) throw error;
    throw new ExchangeError(`${address}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    socket.destroy();
  }
}

/** Whether the bytes answer the question: the same id, name (in its letters' case) and type. */
function isAnswer(bytes: Buffer, asked: Buffer): boolean {
  const message = readMessage(bytes);
  if (message === undefined || message.id !== asked.readUInt16BE(0)) return false;
  const end = message.nameEnd + 4;
  return bytes.subarray(HEADER_BYTES, end).equals(asked.subarray(HEADER_BYTES, end));
}
