import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { ApiError, parseRetryAfter, statusError } from './api-error.ts';
import { type Clock, Watchdog } from './clock.ts';
import { currentConfig, type KubeUser } from './kubeconfig.ts';

/** A successful answer. */
export interface ApiResponse {
  /** Fails with an ApiError when the connection breaks or nothing arrives for the request's idleDeadlineMs. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface GetOptions {
  /** How long the body may pause; without it for ever. */
  readonly idleDeadlineMs?: number;
  readonly signal: AbortSignal;
}

/** Reads from one API server. */
export interface Transport extends AsyncDisposable {
  /** `path` with its query. Rejects with an ApiError for every other answer than 2xx and for none. */
  get(path: string, options: GetOptions): Promise<ApiResponse>;
}

/** A request that changes something; `path` with its query. */
export interface ApiChange {
  readonly method: 'POST' | 'PATCH';
  readonly path: string;
  readonly contentType: string;
  readonly body: string;
}

/** Sends a change to the API server. Rejects with an ApiError for every other answer than 2xx and for none. */
export type SendChange = (change: ApiChange, signal: AbortSignal) => Promise<void>;

export interface TransportOptions {
  /** Called at start and again when the server isn't reached or takes the credentials no longer: both may have changed. */
  readonly loadKubeConfig: () => KubeConfig;
  /** Takes the place of the kubeconfig's server URL (kube-proxy's --master). */
  readonly server?: string | undefined;
  readonly userAgent: string;
  readonly clock: Clock;
}

/** A little more than exec plugins have (kubeconfig.ts), for whatever else may hang. */
const CREDENTIALS_DEADLINE_MS = 65_000;
const CONNECT_DEADLINE_MS = 10_000;
/** A little more than kube-apiserver's own limit for a request (--request-timeout, 60 s): let it say why. */
const RESPONSE_DEADLINE_MS = 65_000;
const KEEP_ALIVE_MS = 30_000;
const LONGEST_SHORT_BODY = 64 * 1024;

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * A login page or a proxy's welcome has status 200, too. It says nothing about the objects, so it is a failure of the connection:
 * nothing is listed anew for it.
 */
function checkForm(response: IncomingMessage): void {
  const { 'content-type': type = 'application/json', 'content-encoding': encoding = 'identity' } = response.headers;
  if (/json/i.test(type) && encoding === 'identity') return;
  response.destroy();
  const form = encoding === 'identity' ? type : `${type}, compressed with ${encoding}`;
  throw new ApiError('connection', `the answer is not JSON but ${form}: something else than an API server answers`);
}

/** Whoever uses the socket hears of its errors by listeners of their own. */
const ignoreError = () => undefined;

/** The transport over node:http(s) with the credentials of a kubeconfig: token, exec plugin, client certificate, basic. */
export class HttpTransport implements Transport {
  readonly #options: TransportOptions;
  /** Own agents: client-node's keeps the certificates of its first use, so that rotated ones would never be used. */
  readonly #agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) };
  #config: KubeConfig | undefined;
  /** The server wasn't reached: the kubeconfig may name another one by now. */
  #isServerDoubtful = false;

  /** Loads the kubeconfig, so that one that cannot be read ends the start. */
  constructor(options: TransportOptions) {
    this.#options = options;
    this.#config = currentConfig(options.loadKubeConfig(), options.server);
  }

  get(path: string, options: GetOptions): Promise<ApiResponse> {
    return this.#exchange({ method: 'GET', path }, options.signal, async response => {
      checkForm(response);
      return { body: this.#read(response, options.idleDeadlineMs) };
    });
  }

  /** See SendChange. */
  async send(change: ApiChange, signal: AbortSignal): Promise<void> {
    // Nobody needs the answer, but a connection can only be kept when it was read.
    await this.#exchange(change, signal, response => this.#readShort(response));
  }

  async #exchange<T>(
    asked: ApiChange | { readonly method: 'GET'; readonly path: string },
    signal: AbortSignal,
    read: (response: IncomingMessage) => Promise<T>,
  ): Promise<T> {
    const { url, request } = await this.#prepare(asked.path, signal);
    const { method } = asked;
    const body = asked.method === 'GET' ? undefined : asked.body;
    const headers = asked.method === 'GET' ? {} : { 'Content-Type': asked.contentType };
    try {
      const options = { ...request, method, headers: { ...request.headers, ...headers }, signal };
      const response = await this.#sendAgain(url, options, body);
      const status = response.statusCode ?? 0;
      const { location, 'retry-after': retryAfter } = response.headers;
      if (status >= 200 && status < 300) return await read(response);
      const retryAfterMs = parseRetryAfter(retryAfter, this.#options.clock.now());
      const said = await this.#readShort(response);
      throw statusError(status, location === undefined ? said : `redirects to ${location}; not followed`, retryAfterMs);
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  async #prepare(path: string, signal: AbortSignal): Promise<{ url: URL; request: https.RequestOptions }> {
    const headers: http.OutgoingHttpHeaders = {
      Accept: 'application/json',
      'User-Agent': this.#options.userAgent,
    };
    const request: https.RequestOptions = { headers };
    try {
      this.#config = this.#currentConfig();
      await this.#inTime(this.#config.applyToHTTPSOptions(request), signal);
    } catch (cause) {
      const reason = messageOf(cause).trim() || 'the plugin failed without a word';
      throw new ApiError('credentials', `no credentials for the API server: ${reason}`, { cause });
    }
    // A token file may end with a newline, which no header may hold.
    if (typeof headers.Authorization === 'string') headers.Authorization = headers.Authorization.trim();
    const user: KubeUser | null = this.#config.getCurrentUser();
    Object.assign(headers, user?.impersonation);
    const cluster = this.#config.getCurrentCluster();
    const server = cluster?.server ?? '';
    const url = new URL(server.replace(/\/+$/, '') + path);
    if (!cluster?.proxyUrl) request.agent = url.protocol === 'http:' ? this.#agents['http:'] : this.#agents['https:'];
    return { url, request };
  }

  /** Without a change it stays the same object, which has its exec plugin's token. */
  #currentConfig(): KubeConfig {
    if (this.#config !== undefined && !this.#isServerDoubtful) return this.#config;
    const next = currentConfig(this.#options.loadKubeConfig(), this.#options.server);
    this.#isServerDoubtful = false;
    return this.#config?.exportConfig() === next.exportConfig() ? this.#config : next;
  }

  /** Fails when the credentials take too long, or nobody waits for them any more. */
  async #inTime(credentials: Promise<void>, signal: AbortSignal): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const seconds = CREDENTIALS_DEADLINE_MS / 1000;
    const cancel = this.#options.clock.after(CREDENTIALS_DEADLINE_MS, () =>
      reject(new Error(`none within ${seconds} s`)),
    );
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort);
    try {
      await Promise.race([credentials, promise]);
    } finally {
      cancel();
      signal.removeEventListener('abort', abort);
    }
  }

  /** A kept connection may have been closed by the server a moment ago: that is no failure, the next one is tried. */
  async #sendAgain(url: URL, options: https.RequestOptions, body?: string): Promise<IncomingMessage> {
    for (;;) {
      const sent = this.#send(url, options, body);
      try {
        return await sent.response;
      } catch (error) {
        const isClosed = error instanceof Error && 'code' in error && error.code === 'ECONNRESET';
        if (!isClosed || !sent.request.reusedSocket) throw error;
      }
    }
  }

  #send(
    url: URL,
    options: https.RequestOptions,
    body?: string,
  ): { request: ClientRequest; response: Promise<IncomingMessage> } {
    const { clock } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = (url.protocol === 'http:' ? http : https).request(url, options, resolve);
    const giveUp = (what: string, ms: number) => () =>
      request.destroy(new ApiError('deadline', `${what} within ${ms / 1000} s`));
    const cancelConnect = clock.after(CONNECT_DEADLINE_MS, giveUp('no connection', CONNECT_DEADLINE_MS));
    const cancelResponse = clock.after(RESPONSE_DEADLINE_MS, giveUp('no answer', RESPONSE_DEADLINE_MS));
    request.on('socket', socket => {
      // An abort just when the answer is complete destroys the socket while neither request nor agent listens to it: its
      // error would end the process. Kept sockets come by again, hence off first.
      socket.off('error', ignoreError).on('error', ignoreError);
      // A peer that vanished without a word is noticed after 30 s and ten probes, one each second (libuv).
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      if (!socket.connecting) cancelConnect();
      else socket.once(url.protocol === 'http:' ? 'connect' : 'secureConnect', cancelConnect);
    });
    request.on('error', reject).end(body);
    const response = promise.finally(() => {
      cancelConnect();
      cancelResponse();
    });
    return { request, response };
  }

  async *#read(response: IncomingMessage, idleDeadlineMs?: number): AsyncGenerator<Uint8Array> {
    const silent = (ms: number) => () => response.destroy(new ApiError('deadline', `silent for ${ms / 1000} s`));
    using watchdog =
      idleDeadlineMs === undefined
        ? undefined
        : new Watchdog(this.#options.clock, idleDeadlineMs, silent(idleDeadlineMs));
    try {
      for await (const chunk of response) {
        watchdog?.touch();
        yield chunk as Uint8Array;
      }
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async #readShort(response: IncomingMessage): Promise<unknown> {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of this.#read(response, RESPONSE_DEADLINE_MS)) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > LONGEST_SHORT_BODY) break;
    }
    const text = Buffer.concat(chunks).toString('utf8');
    try {
      return JSON.parse(text);
    } catch (error) {
      if (error instanceof SyntaxError) return text;
      throw error;
    }
  }

  /** Every failure as an ApiError; one that may come from old credentials has them loaded again for the next request. */
  #failure(error: unknown): ApiError {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const isRefused = error instanceof ApiError && error.status === 401;
    if (isRefused || /CERT|TLS|SSL|SELF_SIGNED|VERIFY/.test(code)) this.#config = undefined;
    this.#isServerDoubtful ||= !(error instanceof ApiError && error.kind === 'status');
    if (error instanceof ApiError) return error;
    return new ApiError('connection', `${messageOf(error)}${code === '' ? '' : ` (${code})`}`, { cause: error });
  }
}
