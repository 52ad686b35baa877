/** A TCP connection to an echo pod that talks all the time, and tells when a line didn't come back as it should. */
import { connect, type Socket } from 'node:net';
import { named, type TrafficTarget } from './exchange.ts';

export interface HeldOptions {
  readonly target: TrafficTarget;
  /** Between an answer and the next line. */
  readonly pauseMs: number;
  /** A line that isn't back by then counts as a stall. */
  readonly stallMs: number;
  readonly onAnswer: (waitMs: number) => void;
  /** A stall, once a line; or the end of the connection, after which nothing comes any more. */
  readonly onFailure: (error: string) => void;
}

export class HeldConnection {
  readonly #options: HeldOptions;
  readonly #socket: Socket;
  readonly #opened = Promise.withResolvers<void>();
  #text = '';
  #expected = '';
  #lines = 0;
  #askedAt = 0;
  #pause: NodeJS.Timeout | undefined;
  #stall: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(options: HeldOptions) {
    this.#options = options;
    const { address, port } = options.target;
    this.#socket = connect({ host: address, port, noDelay: true });
    this.#socket.setEncoding('utf8');
    this.#socket.on('connect', () => this.#say('who', ''));
    this.#socket.on('data', (chunk: string) => this.#read(chunk));
    this.#socket.on('error', error => this.#break(named(error).message));
    this.#socket.on('close', () => this.#break('closed'));
    this.#stall = setTimeout(() => this.#break('timeout'), options.stallMs);
  }

  /** Resolves once it was answered for the first time, or is over. */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  close(): void {
    this.#end();
  }

  /** `expected` is '' when any line will do. */
  #say(line: string, expected: string): void {
    this.#expected = expected;
    this.#askedAt = performance.now();
    clearTimeout(this.#stall);
    this.#stall = setTimeout(() => this.#noteStall(), this.#options.stallMs);
    this.#socket.write(`${line}\n`);
  }

  /** When this process was stopped for long, the answer may have arrived but not been read. */
  #noteStall(): void {
    const asked = this.#askedAt;
    setImmediate(() => {
      if (!this.#isOver && this.#askedAt === asked && this.#pause === undefined) this.#options.onFailure('timeout');
    });
  }

  #read(chunk: string): void {
    this.#text += chunk;
    const end = this.#text.indexOf('\n');
    if (end < 0 || this.#isOver) return;
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    if (this.#text !== '' || (this.#expected !== '' && line !== this.#expected)) {
      this.#break(`answered '${line.slice(0, 120)}' to '${this.#expected}'`);
      return;
    }
    clearTimeout(this.#stall);
    this.#options.onAnswer(performance.now() - this.#askedAt);
    this.#opened.resolve();
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      const word = `line ${++this.#lines}`;
      this.#say(word, word);
    }, this.#options.pauseMs);
  }

  #break(error: string): void {
    if (this.#isOver) return;
    this.#end();
    this.#options.onFailure(error);
  }

  #end(): void {
    this.#isOver = true;
    clearTimeout(this.#pause);
    clearTimeout(this.#stall);
    this.#socket.destroy();
    this.#opened.resolve();
  }
}
