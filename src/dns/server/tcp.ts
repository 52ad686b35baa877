/** Questions and answers by TCP: RFC 7766 (pipelining, idle connections), RFC 1035 §4.2.2 (two bytes of length before each message). */

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Respond } from './udp.ts';

/** Of a connection without a question. */
const IDLE_MS = 10_000;
const MOST_CONNECTIONS = 1000;
/** Of one connection: questions that are being answered. Nothing more is read until there are fewer. */
const MOST_PENDING = 100;
/** Answers that a client doesn't read. */
const MOST_UNSENT_BYTES = 1024 * 1024;
/** At the end: how long a connection may still have questions under way. */
const LAST_ANSWERS_MS = 5000;

export interface TcpServerOptions {
  readonly address: string;
  readonly port: number;
  readonly respond: Respond;
  readonly sharesPort: boolean;
}

export class TcpServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();

  private constructor(respond: Respond) {
    this.#server = createServer({ noDelay: true }, socket => {
      const connection = new Connection(socket, respond);
      this.#connections.add(connection);
      socket.on('close', () => this.#connections.delete(connection));
    });
    this.#server.maxConnections = MOST_CONNECTIONS;
  }

  static async open({ address, port, respond, sharesPort }: TcpServerOptions): Promise<TcpServer> {
    const server = new TcpServer(respond);
    const bound = once(server.#server, 'listening');
    server.#server.listen({ host: address, port, ipv6Only: true, reusePort: sharesPort, backlog: 1024 });
    await bound;
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Takes no more connections; those that it has end when what they asked is answered. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const connection of this.#connections) connection.finish();
    const late = new AbortController();
    void delay(LAST_ANSWERS_MS, undefined, { signal: late.signal }).then(
      () => {
        for (const connection of this.#connections) connection.destroy();
      },
      () => undefined, // all have ended before
    );
    await closed;
    late.abort();
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #respond: Respond;
  readonly #client: { readonly address: string; readonly port: number };
  #rest: Buffer = Buffer.alloc(0);
  #pending = 0;
  #isFinishing = false;

  constructor(socket: Socket, respond: Respond) {
    this.#socket = socket;
    this.#respond = respond;
    this.#client = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    // A client that goes away is none of ours.
    socket.on('error', () => socket.destroy());
    socket.on('data', chunk => this.#read(chunk));
  }

  /** Ends as soon as nothing is under way. */
  finish(): void {
    this.#isFinishing = true;
    if (this.#pending === 0) this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#socket.cork();
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      const end = 2 + bytes.readUInt16BE(0);
      this.#take(bytes.subarray(2, end));
      bytes = bytes.subarray(end);
    }
    this.#socket.uncork();
    this.#rest = bytes;
  }

  #take(message: Buffer): void {
    const answer = this.#respond(message, this.#client);
    if (!(answer instanceof Promise)) {
      this.#reply(answer);
      return;
    }
    this.#pending += 1;
    if (this.#pending >= MOST_PENDING) this.#socket.pause();
    void answer.then(late => {
      this.#pending -= 1;
      this.#reply(late);
      if (this.#isFinishing && this.#pending === 0) this.#socket.end();
      else if (this.#pending < MOST_PENDING) this.#socket.resume();
    });
  }

  /** As they are found, in any order (RFC 7766 §7). */
  #reply(answer: Buffer | undefined): void {
    if (answer === undefined || this.#socket.destroyed) return;
    const framed = Buffer.allocUnsafe(2 + answer.length);
    framed.writeUInt16BE(answer.length);
    answer.copy(framed, 2);
    this.#socket.write(framed);
    if (this.#socket.writableLength > MOST_UNSENT_BYTES) this.#socket.destroy();
  }
}
