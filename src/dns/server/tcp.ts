/** Questions and answers by TCP: RFC 7766 (pipelining, idle connections), RFC 1035 §4.2.2 (two bytes of length before each message). */

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Respond } from './udp.ts';

/** Of a connection without a question. */
const IDLE_MS = 10_000;
const MOST_CONNECTIONS = 1000;
/** Of one connection: questions that are being answered. Nothing more is read until there are fewer. */
const MOST_PENDING = 100;
/** Answers that a client doesn't read. */
const MOST_UNSENT_BYTES = 1024 * 1024;

export interface TcpServerOptions {
  readonly address: string;
  readonly port: number;
  readonly respond: Respond;
  readonly sharesPort: boolean;
}

export class TcpServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();

  private constructor(respond: Respond) {
    this.#server = createServer({ noDelay: true }, socket => {
      this.#connections.add(socket);
      socket.on('close', () => this.#connections.delete(socket));
      serve(socket, respond);
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

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
    await closed;
  }
}

/** Answers go out as they are found, in any order (RFC 7766 §7). */
function serve(socket: Socket, respond: Respond): void {
  let rest: Buffer = Buffer.alloc(0);
  let pending = 0;
  const client = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  // A client that goes away is none of ours.
  socket.on('error', () => socket.destroy());
  const reply = (answer: Buffer | undefined) => {
    if (answer === undefined || socket.destroyed) return;
    const length = Buffer.allocUnsafe(2);
    length.writeUInt16BE(answer.length);
    socket.cork();
    socket.write(length);
    socket.write(answer);
    process.nextTick(() => socket.uncork());
    if (socket.writableLength > MOST_UNSENT_BYTES) socket.destroy();
  };
  const take = (message: Buffer) => {
    const answer = respond(message, client);
    if (!(answer instanceof Promise)) {
      reply(answer);
      return;
    }
    pending += 1;
    if (pending >= MOST_PENDING) socket.pause();
    void answer.then(late => {
      pending -= 1;
      reply(late);
      if (pending < MOST_PENDING) socket.resume();
    });
  };
  socket.on('data', chunk => {
    let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      const end = 2 + bytes.readUInt16BE(0);
      take(bytes.subarray(2, end));
      bytes = bytes.subarray(end);
    }
    rest = bytes;
  });
}
