/** Questions and answers by UDP. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

export interface Client {
  readonly address: string;
  readonly port: number;
}

/** Undefined = no answer. Resolves late for what somebody else has to be asked; never throws or rejects. */
export type Respond = (message: Buffer, client: Client) => Buffer | Promise<Buffer | undefined> | undefined;

export interface UdpServerOptions {
  readonly address: string;
  readonly port: number;
  readonly respond: Respond;
  /** Several sockets of one address, in several threads, share its questions. */
  readonly sharesPort: boolean;
}

/** A socket at an address; resolves once it answers. Rejects when the address can't be had. */
export class UdpServer implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #respond: Respond;
  /** Datagrams that the kernel didn't take: the client asks again. */
  dropped = 0;

  private constructor({ address, respond, sharesPort }: UdpServerOptions) {
    const type = address.includes(':') ? 'udp6' : 'udp4';
    this.#socket = createSocket({ type, ipv6Only: type === 'udp6', reusePort: sharesPort });
    this.#respond = respond;
  }

  static async open(options: UdpServerOptions): Promise<UdpServer> {
    const server = new UdpServer(options);
    const bound = once(server.#socket, 'listening');
    server.#socket.bind(options.port, options.address);
    await bound;
    server.#socket.on('message', (message, client) => server.#take(message, client));
    server.#socket.on('error', () => {
      server.dropped += 1;
    });
    return server;
  }

  get port(): number {
    return this.#socket.address().port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }

  #take(message: Buffer, client: Client): void {
    const answer = this.#respond(message, client);
    if (answer === undefined) return;
    if (!(answer instanceof Promise)) this.#send(answer, client);
    else void answer.then(late => (late === undefined ? undefined : this.#send(late, client)));
  }

  #send(answer: Buffer, { address, port }: Client): void {
    this.#socket.send(answer, port, address);
  }
}
