import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions as TlsOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

/** One request that waits for its answer. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.request = request;
    this.response = response;
    const url = new URL(request.url ?? '', 'http://server');
    this.path = url.pathname;
    this.query = Object.fromEntries(url.searchParams);
  }

  /** A complete answer. */
  json(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  }

  /** Opens a watch; more follows by events(), bytes(), end() or destroy(). */
  open(): this {
    this.response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    return this;
  }

  /** Resolves when the bytes were handed to the socket. */
  bytes(chunk: string | Uint8Array): Promise<void> {
    return new Promise(resolve => this.response.write(chunk, () => resolve()));
  }

  events(...events: readonly object[]): Promise<void> {
    return this.bytes(events.map(event => `${JSON.stringify(event)}\n`).join(''));
  }

  end(): void {
    this.response.end();
  }

  /** Breaks the connection. */
  destroy(): void {
    this.request.socket.destroy();
  }

  /** Resolves when the client has gone away. */
  closed(): Promise<void> {
    if (this.response.closed) return Promise.resolve();
    return new Promise(resolve => this.response.once('close', resolve));
  }
}

/** A server whose answers a test writes one by one: it takes the next request with next() and answers it. */
export class ScriptedServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #arrived: Exchange[] = [];
  readonly #takers: ((exchange: Exchange) => void)[] = [];

  private constructor(tls: TlsOptions | undefined) {
    const listener: RequestListener = (request, response) => {
      const exchange = new Exchange(request, response);
      const taker = this.#takers.shift();
      if (taker === undefined) this.#arrived.push(exchange);
      else taker(exchange);
    };
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  }

  /** Listens on 127.0.0.1. */
  static async start(options: { tls?: TlsOptions; port?: number } = {}): Promise<ScriptedServer> {
    const scripted = new ScriptedServer(options.tls);
    await new Promise<void>(resolve => scripted.#server.listen(options.port ?? 0, '127.0.0.1', resolve));
    return scripted;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Requests that nobody took yet. */
  get waiting(): number {
    return this.#arrived.length;
  }

  /** The next request, as soon as it is there. */
  next(): Promise<Exchange> {
    const exchange = this.#arrived.shift();
    if (exchange !== undefined) return Promise.resolve(exchange);
    return new Promise(resolve => this.#takers.push(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise(resolve => this.#server.close(resolve));
  }
}
