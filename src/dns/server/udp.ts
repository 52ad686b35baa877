/** Questions and answers by UDP. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

export interface Client {
  readonly address: string;
  readonly port: number;
}

/** Undefined = no answer. Resolves late for what somebody else has to be asked; never throws or rejects. */
export type Respond = (message: Buffer, client: Client) => Buffer | Promise<Buffer | undefined> | undefined;

/** Of all sockets of a worker. */
export interface SocketCounts {
  /** By UDP: answers that the kernel didn't take, and questions that none can be sent to. A client asks again. */
  dropped: number;
  /** By TCP: those that are open, and those that were closed at once because there were too many, in all or of one client. */
  connections: number;
  turnedAway: number;
  /** By TCP: answers that the kernel hasn't taken yet. */
  unsentBytes: number;
}

export function noSockets(): SocketCounts {
  return { dropped: 0, connections: 0, turnedAway: 0, unsentBytes: 0 };
}

export interface UdpServerOptions {
  readonly address: string;
  readonly port: number;
  readonly respond: Respond;
  readonly counts: SocketCounts;
  /** Several sockets of one address, in several threads or processes, share its questions. */
  readonly sharesPort: boolean;
}

/** Only addresses are sent to: Node's own way makes a turn of the event loop of each. */
function asItIs(address: string, _family: unknown, done: (error: null, address: string, family: number) => void): void {
  done(null, address, address.includes(':') ? 6 : 4);
}

/** For bursts; the kernel gives as much of it as net.core.rmem_max lets it. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
/**
 * A packet whose socket the kernel has looked up is queued there some microseconds later, whatever the socket has become meanwhile: both is done by one
 * softirq, which nothing but interrupts (and a hypervisor) can hold up.
 */
const SETTLING_MS = 20;

/** A socket at an address; resolves once it answers. Rejects when the address can't be had. */
export class UdpServer implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #respond: Respond;
  readonly #pending = new Set<Promise<void>>();
  /** Counts what is read, so that an end of it can be seen. */
  #taken = 0;
  #isClosing = false;
  readonly #counts: SocketCounts;

  private constructor({ address, respond, counts, sharesPort }: UdpServerOptions) {
    const type = address.includes(':') ? 'udp6' : 'udp4';
    const ipv6Only = type === 'udp6';
    const options = { ipv6Only, reusePort: sharesPort, recvBufferSize: RECEIVE_BUFFER_BYTES };
    this.#socket = createSocket({ type, ...options, lookup: asItIs });
    this.#respond = respond;
    this.#counts = counts;
  }

  static async open(options: UdpServerOptions): Promise<UdpServer> {
    const server = new UdpServer(options);
    try {
      const bound = once(server.#socket, 'listening');
      server.#socket.bind(options.port, options.address);
      await bound;
    } catch (error) {
      server.#socket.close();
      throw error;
    }
    server.#socket.on('message', (message, client) => server.#take(message, client));
    server.#socket.on('error', () => {
      options.counts.dropped += 1;
    });
    return server;
  }

  get port(): number {
    return this.#socket.address().port;
  }

  /**
   * What came before is answered first. A connected socket gets nothing from anybody but its peer, here itself: whoever shares the port gets what comes
   * from now on (net/ipv4/udp.c, compute_score), and what is queued can still be read. With a plain close that would be lost.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    this.#connect();
    do {
      await Promise.all(this.#pending);
      await this.#untilQuiet();
    } while (this.#pending.size > 0);
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }

  #take(message: Buffer, client: Client): void {
    this.#taken += 1;
    // RFC 768: its sender wants no answer, and there is no port to send one to.
    if (client.port === 0) {
      this.#counts.dropped += 1;
      return;
    }
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
    if (!this.#isClosing) {
      this.#socket.send(answer, port, address);
      return;
    }
    if (this.#isConnected) this.#socket.disconnect();
    this.#socket.send(answer, port, address);
    // At once: what comes in between is queued here, and read as what came before.
    this.#connect();
  }

  get #isConnected(): boolean {
    try {
      this.#socket.remoteAddress();
      return true;
    } catch {
      return false; // ERR_SOCKET_DGRAM_NOT_CONNECTED
    }
  }

  /** Takes effect before it returns, because `asItIs` does. Where the address is no longer this machine's it fails, and nothing comes there anyway. */
  #connect(): void {
    const { address, port } = this.#socket.address();
    this.#socket.connect(port, address);
  }

  /** Until some time has brought nothing. */
  async #untilQuiet(): Promise<void> {
    for (let before = -1; before !== this.#taken; ) {
      before = this.#taken;
      await delay(SETTLING_MS);
      // Sockets are read between two of these.
      for (let turn = 0; turn < 2; turn += 1) await new Promise<void>(resolve => setImmediate(resolve));
    }
  }
}
