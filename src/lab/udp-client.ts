/** One UDP socket that asks an echo pod who it is, again and again from the same port. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

export interface UdpClientOptions {
  readonly address: string;
  readonly port: number;
  /** For one question. */
  readonly timeoutMs: number;
}

export class UdpClient {
  readonly #options: UdpClientOptions;
  readonly #socket: Socket;
  readonly #connected: Promise<unknown>;
  #questions = 0;
  #waiting: { readonly mark: string; readonly settle: PromiseWithResolvers<string> } | undefined;

  constructor(options: UdpClientOptions) {
    this.#options = options;
    this.#socket = createSocket(options.address.includes(':') ? 'udp6' : 'udp4');
    this.#socket.on('error', error => this.#waiting?.settle.reject(error));
    this.#socket.on('message', message => this.#read(message.toString('utf8')));
    this.#connected = once(this.#socket, 'connect'); // connected, so that an ICMP refusal reaches us
    this.#connected.catch(() => undefined);
    this.#socket.connect(options.port, options.address);
  }

  /** Resolves to the answer's first line. Rejects with the errno of an ICMP error, or with `timeout`. One question at a time. */
  async ask(): Promise<string> {
    await this.#connected;
    // An answer to an earlier question, which came too late, is known by its mark.
    const mark = `question ${++this.#questions}`;
    const settle = Promise.withResolvers<string>();
    this.#waiting = { mark, settle };
    const timer = setTimeout(() => settle.reject(new Error('timeout')), this.#options.timeoutMs);
    try {
      this.#socket.send(`who\n${mark}`);
      return await settle.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  close(): void {
    this.#socket.close();
  }

  #read(text: string): void {
    const end = text.indexOf('\n') + 1;
    if (text.slice(end) === this.#waiting?.mark) this.#waiting.settle.resolve(text.slice(0, end));
  }
}
