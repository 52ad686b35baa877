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
  /** Several sockets of one address, in several threads or processes, share its questions. */
  readonly sharesPort: boolean;
}

/** Only addresses are sent to: Node's own way makes a turn of the event loop of each. */
function asItIs(address: string, _family: unknown, done: (error: null, address: string, family: number) => void): void {
  done(null, address, address.includes(':') ? 6 : 4);
}

/** For bursts; the kernel gives as much of it as net.core.rmem_max lets it. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

/** A socket at an address; resolves once it answers. Rejects when the address can't be had. */
export class UdpServer implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #respond: Respond;
  readonly #pending = new Set<Promise<void>>();
  /** While it closes: questions that came before, and whether the socket is connected (see `#drain`). */
  #waiting: { readonly message: Buffer; readonly client: Client }[] | undefined;
  #isConnected = false;
  /** Datagrams that the kernel didn't take: the client asks again. */
  dropped = 0;

  private constructor({ address, respond, sharesPort }: UdpServerOptions) {
    const type = address.includes(':') ? 'udp6' : 'udp4';
    const ipv6Only = type === 'udp6';
    const options = { ipv6Only, reusePort: sharesPort, recvBufferSize: RECEIVE_BUFFER_BYTES };
    this.#socket = createSocket({ type, ...options, lookup: asItIs });
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

  /** What came before is answered first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#drain();
    while (this.#pending.size > 0 || !this.#isConnected) {
      await Promise.all(this.#pending);
      await this.#drain();
    }
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }

  #take(message: Buffer, client: Client): void {
    if (this.#waiting === undefined) this.#answer(message, client);
    else this.#waiting.push({ message, client });
  }

  #answer(message: Buffer, client: Client): void {
    const answer = this.#respond(message, client);
    if (answer === undefined) return;
    if (!(answer instanceof Promise)) {
      this.#send(answer, client);
      return;
    }
    const pending = answer.then(late => {
      this.#pending.delete(pending);
      if (late !== undefined) this.#send(late, client);
    });
    this.#pending.add(pending);
  }

  #send(answer: Buffer, { address, port }: Client): void {
    if (this.#isConnected) this.#socket.disconnect();
    this.#isConnected = false;
    this.#socket.send(answer, port, address);
  }

  /**
   * A connected socket gets nothing from anybody but its peer, here itself: whoever shares the port gets what comes from now on
   * (net/ipv4/udp.c, compute_score), and what is queued can still be read. With a plain close that would be lost.
   */
  async #drain(): Promise<void> {
    for (let isQuiet = false; !isQuiet; ) {
      this.#waiting = [];
      await this.#connect();
      await this.#untilQuiet();
      const waiting = this.#waiting;
      isQuiet = waiting.length === 0;
      for (const { message, client } of waiting) this.#answer(message, client);
    }
  }

  async #connect(): Promise<void> {
    if (this.#isConnected) return;
    const { address, port } = this.#socket.address();
    const connected = once(this.#socket, 'connect');
    this.#socket.connect(port, address);
    await connected;
    this.#isConnected = true;
  }

  /** Until a turn of the event loop has brought nothing. */
  async #untilQuiet(): Promise<void> {
    for (let before = -1; before !== this.#waiting?.length; ) {
      before = this.#waiting?.length ?? 0;
      // Sockets are read between two of these.
      for (let turn = 0; turn < 2; turn += 1) await new Promise<void>(resolve => setImmediate(resolve));
    }
  }
}
