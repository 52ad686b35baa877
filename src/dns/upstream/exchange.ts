/** One question to one server: by UDP from a port of its own, again by TCP where the answer was cut. RFC 5452 §9: who answers is checked by address, port, id and question. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { RCODE } from '../records.ts';
import type { UpstreamServer } from '../settings.ts';
import { type Message, readMessage } from '../wire/message.ts';
import { FLAG, HEADER_BYTES } from '../wire/query.ts';
import { withoutOpt } from '../wire/question.ts';

/** For TCP, behind a cut answer: one SYN may be lost (it goes again after 1 s), and the client still gets something in its time. */
const TCP_MS = 1500;

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

export interface ExchangeOptions {
  /** Gets a cut answer before TCP is asked for all of it. */
  readonly onCut?: (answer: ServerAnswer) => void;
  readonly signal: AbortSignal;
}

/**
 * The server's answer. Cut short only where TCP gave nothing within its time, or before `signal` was aborted: the server has answered then all the same.
 * @param query a question whose id doesn't matter: each exchange has its own @throws ExchangeError when there is none before `signal` is aborted
 */
export async function exchange(
  query: Buffer,
  server: UpstreamServer,
  { onCut, signal }: ExchangeOptions,
): Promise<ServerAnswer> {
  const asked = Buffer.from(query);
  asked.writeUInt16BE(randomInt(65_536), 0);
  const answer = await byUdp(asked, server, signal);
  if (!answer.message.isTruncated) return answer;
  onCut?.(answer);
  try {
    return await byTcp(asked, server, AbortSignal.any([signal, AbortSignal.timeout(TCP_MS)]));
  } catch (error) {
    if (error instanceof ExchangeError) return answer;
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
  const whole = isBareError(bytes) ? withQuestion(bytes, asked) : bytes;
  const message = readMessage(whole);
  if (message === undefined || message.id !== asked.readUInt16BE(0)) return undefined;
  const end = message.nameEnd + 4;
  if (!whole.subarray(HEADER_BYTES, end).equals(asked.subarray(HEADER_BYTES, end))) return undefined;
  return { bytes: whole, message };
}

/** A header alone, from a server that understood no more of the question (RFC 1035 §4.1.1): believed as an error, never as an answer. */
function isBareError(bytes: Buffer): boolean {
  if (bytes.length !== HEADER_BYTES || bytes.subarray(4).some(byte => byte !== 0)) return false;
  const rcode = bytes[3]! & 15;
  return rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN;
}

/** As if the server had repeated what it was asked. */
function withQuestion(header: Buffer, asked: Buffer): Buffer {
  const whole = withoutOpt(asked);
  header.copy(whole, 0, 0, 4);
  whole.writeUInt16BE(header.readUInt16BE(2) & ~FLAG.truncated, 2);
  return whole;
}
