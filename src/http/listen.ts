import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const RETRY_MS = 5000;
const GRACE_MS = 1000;
const SWEEP_MS = 20;
/** Probes and scrapers send small requests at once; anything slower only holds a socket. */
const REQUEST_TIMEOUT_MS = 10_000;

/** A server couldn't take its address, and the configuration says not to wait for it. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  /** As in the system's errors: EADDRINUSE, EADDRNOTAVAIL, EACCES. */
  readonly code: string;

  constructor(where: string, cause: Error) {
    super(`${where}: ${reasonOf(cause)}`, { cause });
    this.code = codeOf(cause);
  }
}

export interface ListenOptions {
  /** For messages: `health`, `metrics`. */
  readonly name: string;
  readonly address: string;
  /** 0 = any free port (tests). */
  readonly port: number;
  readonly handler: RequestListener;
  /** bindAddressHardFail: the first failure is thrown, where otherwise the address is tried again and again. */
  readonly isFailureFatal: boolean;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  /** Resolves after so many milliseconds, rejects when aborted. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * One HTTP server on one address. When the address is taken it is tried again every 5 s, because a predecessor may be about
 * to let it go; a log line is written when the reason changes and when it works at last.
 */
export class HttpListener {
  readonly #options: ListenOptions;
  readonly #where: string;
  readonly #server: Server;
  readonly #stop = new AbortController();
  #retries: Promise<void> = Promise.resolve();
  #failure = '';

  private constructor(options: ListenOptions) {
    this.#options = options;
    const host = options.address.includes(':') ? `[${options.address}]` : options.address;
    this.#where = `${options.name} server on ${host}:${options.port}`;
    const timeouts = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS };
    this.#server = createServer(timeouts, options.handler);
  }

  /**
   * Starts listening; resolves after the first attempt whether or not it worked.
   * @throws ListenError when it didn't and `isFailureFatal`.
   */
  static async start(options: ListenOptions): Promise<HttpListener> {
    const listener = new HttpListener(options);
    const failure = await listener.#attempt();
    if (failure === undefined) return listener;
    if (options.isFailureFatal) throw new ListenError(listener.#where, failure);
    listener.#retries = listener.#retry();
    return listener;
  }

  /** The port it listens on, undefined while the address is taken or after close. */
  get port(): number | undefined {
    const address = this.#server.address() as AddressInfo | null;
    return address?.port;
  }

  /** Lets requests that are being answered finish (1 s), then frees the port. May be called more than once. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#retries;
    await closeServer(this.#server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #retry(): Promise<void> {
    const { sleep = sleepFor } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const isAborted = await sleep(RETRY_MS, signal).then(
        () => signal.aborted,
        () => true,
      );
      if (isAborted || (await this.#attempt()) === undefined) return;
    }
  }

  async #attempt(): Promise<Error | undefined> {
    const { address, port, log, isFailureFatal } = this.#options;
    const failure = await listenOnce(this.#server, () => this.#server.listen({ host: address, port }));
    if (failure === undefined) {
      log.info({ port: this.port }, `${this.#where} listens`);
    } else if (!isFailureFatal && reasonOf(failure) !== this.#failure) {
      this.#failure = reasonOf(failure);
      log.warn({ err: failure }, `${this.#where}: ${this.#failure}; trying again every ${RETRY_MS / 1000} s`);
    }
    return failure;
  }
}

/** Takes no more connections, lets requests that are being answered finish (1 s), and resolves when all are closed. */
export async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const force = setTimeout(() => server.closeAllConnections(), GRACE_MS);
  // A connection that becomes idle only now would be kept for the client's next request.
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS);
  await new Promise<void>(resolve => {
    server.close(() => resolve());
  });
  clearTimeout(force);
  clearInterval(sweep);
}

async function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal });
}

/** Calls `start`, which makes the server listen; resolves to what went wrong, undefined when it listens. */
export function listenOnce(server: NetServer, start: () => void): Promise<Error | undefined> {
  return new Promise(resolve => {
    const onError = (error: Error): void => {
      server.off('listening', onListening);
      resolve(error);
    };
    const onListening = (): void => {
      server.off('error', onError);
      resolve(undefined);
    };
    server.once('error', onError);
    server.once('listening', onListening);
    start();
  });
}

function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : '';
}

/** Why a server couldn't listen; the usual reasons in words. */
export function reasonOf(error: Error): string {
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return 'the address is in use';
    case 'EADDRNOTAVAIL':
      return 'the address is not one of this host';
    case 'EACCES':
      return 'not permitted';
    default:
      return error.message;
  }
}
