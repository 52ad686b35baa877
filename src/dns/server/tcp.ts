/** Questions and answers by TCP. */

import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { Connection } from './connection.ts';
import type { Respond, SocketCounts } from './udp.ts';

const MOST_CONNECTIONS = 1000;
/** One client mustn't have them all (RFC 7766 §6.2.2). */
const MOST_OF_CLIENT = 100;
/** At the end: how long a connection may still have questions under way. */
const LAST_ANSWERS_MS = 5000;

export interface TcpServerOptions {
  readonly address: string;
  readonly port: number;
  readonly respond: Respond;
  readonly counts: SocketCounts;
  readonly sharesPort: boolean;
  /** Of a connection; 10 s where it isn't given. */
  readonly idleMs?: number;
}

export class TcpServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  /** By client. */
  readonly #ofClient = new Map<string, number>();
  readonly #counts: SocketCounts;
  #accepted = 0;

  private constructor({ respond, counts, idleMs }: TcpServerOptions) {
    this.#counts = counts;
    // Half-open: a client may say that it asks no more, and is answered still.
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, socket => {
      this.#accepted += 1;
      const client = socket.remoteAddress ?? '';
      const count = this.#ofClient.get(client) ?? 0;
      if (count >= MOST_OF_CLIENT) {
        counts.turnedAway += 1;
        socket.destroy();
        return;
      }
      counts.connections += 1;
      this.#ofClient.set(client, count + 1);
      const connection = new Connection({ socket, respond, counts, idleMs });
      this.#connections.add(connection);
      socket.on('close', () => this.#closed(connection, client));
    });
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.on('drop', () => {
      counts.turnedAway += 1;
    });
  }

  static async open(options: TcpServerOptions): Promise<TcpServer> {
    const { address, port, sharesPort } = options;
    const server = new TcpServer(options);
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
    await this.#untilQuiet();
    const closed = once(this.#server, 'close');
    this.#server.close();
    const late = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy();
    }, LAST_ANSWERS_MS);
    for (const connection of this.#connections) void connection.finish();
    await closed;
    clearTimeout(late);
  }

  #closed(connection: Connection, client: string): void {
    this.#connections.delete(connection);
    this.#counts.connections -= 1;
    const left = (this.#ofClient.get(client) ?? 1) - 1;
    if (left === 0) this.#ofClient.delete(client);
    else this.#ofClient.set(client, left);
  }

  /** Until a turn of the event loop has brought no connection: the kernel resets what nobody has accepted when a listener closes. */
  async #untilQuiet(): Promise<void> {
    for (let before = -1, turns = 0; before !== this.#accepted && turns < MOST_CONNECTIONS; turns += 1) {
      before = this.#accepted;
      await new Promise<void>(resolve => setImmediate(resolve));
    }
  }
}
