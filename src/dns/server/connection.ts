/** One connection by TCP: RFC 7766 (pipelining, idle connections), RFC 1035 §4.2.2 (two bytes of length before each message). */
import type { Socket } from 'node:net';
import type { Client, Respond, SocketCounts } from './udp.ts';

/** Without a question that makes sense, or without a client that reads its answers. Bytes of a message that doesn't end don't count. */
const IDLE_MS = 10_000;
/** Questions that are being answered. No more are looked at until there are fewer. */
const MOST_PENDING = 100;
/** Answers that a client hasn't read yet. No more questions are looked at until it has. */
const MOST_UNSENT_BYTES = 256 * 1024;
/** Of all clients together: beyond that each has one answer at a time. */
const MOST_UNSENT_OF_ALL = 16 * 1024 * 1024;
/** At the end: for a first question, or what is missing of one, which may be under way. */
const LAST_QUESTION_MS = 200;

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly respond: Respond;
  readonly counts: SocketCounts;
  readonly idleMs?: number | undefined;
}

export class Connection {
  readonly #socket: Socket;
  readonly #respond: Respond;
  readonly #client: Client;
  readonly #counts: SocketCounts;
  readonly #idle: NodeJS.Timeout;
  #bytes: Buffer = Buffer.alloc(0);
  #pending = 0;
  #hasAsked = false;
  #isFinishing = false;

  constructor({ socket, respond, counts, idleMs = IDLE_MS }: ConnectionOptions) {
    this.#socket = socket;
    this.#respond = respond;
    this.#counts = counts;
    this.#client = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    this.#idle = setTimeout(() => this.#endIdle(), idleMs);
    socket.on('close', () => clearTimeout(this.#idle));
    // A client that goes away is none of ours.
    socket.on('error', () => socket.destroy());
    socket.on('data', chunk => this.#read(chunk));
    // It has asked all that it wants to; answers may still be under way (half-closed connections: RFC 7766 §6.2.3).
    socket.on('end', () => this.#finish());
  }

  /** Ends as soon as what has come is answered; whoever has only just connected may ask once. */
  async finish(): Promise<void> {
    // What is in the socket's buffer is read between two of these.
    for (let turn = 0; turn < 2; turn += 1) await new Promise<void>(resolve => setImmediate(resolve));
    if (this.#hasAsked && this.#bytes.length === 0) this.#finish();
    else setTimeout(() => this.#finish(), LAST_QUESTION_MS);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Not while a question is being answered (RFC 7766 §6.2.3); when it is, the time begins anew. */
  #endIdle(): void {
    if (this.#pending === 0) this.#socket.destroy();
    else this.#idle.refresh();
  }

  #finish(): void {
    this.#isFinishing = true;
    this.#work();
  }

  #read(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    this.#work();
  }

  /** Answers what has come, as far as there is room. */
  #work(): void {
    this.#socket.cork();
    for (let message = this.#next(); message !== undefined; message = this.#next()) this.#take(message);
    this.#socket.uncork();
    if (this.#isFull) this.#socket.pause();
    else if (this.#isFinishing && this.#pending === 0) this.#socket.destroySoon();
    else this.#socket.resume();
  }

  get #isFull(): boolean {
    const { writableLength } = this.#socket;
    const most = this.#counts.unsentBytes > MOST_UNSENT_OF_ALL ? 0 : MOST_UNSENT_BYTES;
    return this.#pending >= MOST_PENDING || writableLength > most;
  }

  /** Undefined = none is complete, or there is no room for its answer. */
  #next(): Buffer | undefined {
    const bytes = this.#bytes;
    if (bytes.length < 2 || this.#isFull || this.#socket.destroyed) return undefined;
    const end = 2 + bytes.readUInt16BE(0);
    if (bytes.length < end) return undefined;
    this.#bytes = bytes.subarray(end);
    return bytes.subarray(2, end);
  }

  #take(message: Buffer): void {
    this.#hasAsked = true;
    const answer = this.#respond(message, this.#client);
    if (!(answer instanceof Promise)) {
      this.#reply(answer);
      return;
    }
    this.#pending += 1;
    void answer.then(late => {
      this.#pending -= 1;
      this.#reply(late);
      this.#work();
    });
  }

  /** As they are found, in any order (RFC 7766 §7). */
  #reply(answer: Buffer | undefined): void {
    if (answer === undefined || !this.#socket.writable) return;
    const framed = Buffer.allocUnsafe(2 + answer.length);
    framed.writeUInt16BE(answer.length);
    answer.copy(framed, 2);
    this.#counts.unsentBytes += framed.length;
    this.#socket.write(framed, error => this.#sent(framed.length, error));
  }

  /** The kernel has it, or nobody will. */
  #sent(bytes: number, error: unknown): void {
    this.#counts.unsentBytes -= bytes;
    if (error !== undefined && error !== null) return;
    this.#idle.refresh();
    if (this.#bytes.length > 0 || this.#socket.isPaused()) this.#work();
  }
}
