/**
 * An API server in the process: enough of Kubernetes for service proxies, their tests and kubectl, in memory.
 * Lists and watches behave as recorded from kube-apiserver 1.36 (test/conformance/vectors/watch.json).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { discoveryDocument, openApiV2 } from './discovery.ts';
import { type Aim, type Cut, type EndFault, Faults, type Lasting, type Refusal, type Slowness } from './faults.ts';
import { type Exchange, handle, sendStatus, sendText } from './handlers.ts';
import type { StoreSnapshot } from './history.ts';
import { createKubernetesService, type KubernetesServiceOptions } from './kubernetes-service.ts';
import { parseFlag } from './list.ts';
import { parseTarget } from './request.ts';
import { toStatusError, unauthorized } from './status.ts';
import { Store, type StoreOptions } from './store.ts';
import { openWatch } from './watch-handler.ts';

export interface ApiServerOptions extends StoreOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  /** The only bearer token that is accepted; without it every request is. */
  readonly token?: string;
  /** PEM; without it the server speaks plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Use these objects instead of a new, empty cluster: a server that restarts with its data. */
  readonly store?: Store;
  /** Makes the Service `default/kubernetes` with these endpoints. */
  readonly kubernetesService?: KubernetesServiceOptions;
  /** How long a read waits for a version that isn't reached yet before 504. Default 3000, as a real server. */
  readonly freshnessWaitMs?: number;
  /** Between bookmarks on a watch that wants them. Default 60 000, as a real server. */
  readonly bookmarkIntervalMs?: number;
  /** The end of watches without timeoutSeconds. Default 2 700 000 (a real server picks 30 to 60 minutes). */
  readonly watchTimeoutMs?: number;
  /** API groups that this server lacks, such as `discovery.k8s.io` before Kubernetes 1.21: 404 in plain text. */
  readonly withoutGroups?: readonly string[];
}

/** A running server. */
export interface ApiServer extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly url: string;
  /** The objects, for writers and readers in the process. */
  readonly store: Store;
  /** Watches that are open now. */
  readonly watchCount: number;
  /** Forgets the history: watches and page tokens from before answer 410. */
  compact(): void;
  /** Breaks the connections of all watches, without an end of the answer. */
  dropWatches(): void;
  /** Ends all watches in order, as at their timeout. */
  endWatches(): void;
  /** Answers every request with a status until the fault ends; open watches live on. */
  refuse(refusal: Refusal): EndFault;
  /** Answers late. */
  slow(slowness: Slowness): EndFault;
  /** Takes connections and requests and says nothing; open watches fall silent without an end. */
  stall(lasting?: Lasting): EndFault;
  /** Breaks each watch in the middle of the next line that it carries. */
  cutWatches(cut?: Cut): void;
  /** Sends each watch a 410 as ERROR event and ends it. */
  expireWatches(aim?: Aim): void;
  /** Breaks connections: those with a request under way that fits, or without an aim all. */
  dropConnections(aim?: Aim): void;
  /** Ends all faults that last. */
  endFaults(): void;
  /** What the cluster holds now, for restore(). */
  snapshot(): StoreSnapshot;
  /** Brings back an older state with its resourceVersions, as a restore of etcd does; all connections break. */
  restore(snapshot: StoreSnapshot): void;
  /** From now on this is the only bearer token that is accepted: the old one was rotated away. */
  requireToken(token: string): void;
  /** Takes an API group away, or serves it (again): a server that is replaced by another release. */
  serveGroup(group: string, isServed: boolean): void;
  /** Closes all connections and the port. */
  close(): Promise<void>;
}

class EmbeddedApiServer implements ApiServer {
  readonly store: Store;
  readonly #options: ApiServerOptions;
  readonly #server: Server;
  readonly #faults = new Faults();
  readonly #withoutGroups: Set<string>;
  #token: string | undefined;
  readonly #bookmarks: NodeJS.Timeout;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#token = options.token;
    this.#withoutGroups = new Set(options.withoutGroups);
    this.store = options.store ?? new Store(options);
    if (options.kubernetesService !== undefined) createKubernetesService(this.store, options.kubernetesService);
    const listener = (request: IncomingMessage, response: ServerResponse): void => void this.#answer(request, response);
    this.#server = options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
    // Idle connections stay as long as a real server keeps them; clients that reuse one mustn't meet its end.
    this.#server.keepAliveTimeout = 90_000;
    this.#server.requestTimeout = 0;
    const sendBookmarks = (): void => {
      for (const watch of this.#faults.watches) watch.sendBookmark();
    };
    this.#bookmarks = setInterval(sendBookmarks, options.bookmarkIntervalMs ?? 60_000).unref();
  }

  get url(): string {
    const { address, family, port } = this.#server.address() as AddressInfo;
    const scheme = this.#options.tls === undefined ? 'http' : 'https';
    return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  }

  get watchCount(): number {
    return this.#faults.watchCount;
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: this.#options.host, port: this.#options.port }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  compact(): void {
    this.store.forgetHistory();
  }

  dropWatches(): void {
    for (const watch of this.#faults.watches) watch.drop();
  }

  endWatches(): void {
    for (const watch of this.#faults.watches) watch.close();
  }

  refuse(refusal: Refusal): EndFault {
    return this.#faults.refuse(refusal);
  }

  slow(slowness: Slowness): EndFault {
    return this.#faults.slow(slowness);
  }

  stall(lasting: Lasting = {}): EndFault {
    return this.#faults.stall(lasting);
  }

  cutWatches(cut: Cut = {}): void {
    this.#faults.cutWatches(cut);
  }

  expireWatches(aim: Aim = {}): void {
    this.#faults.expireWatches(aim);
  }

  dropConnections(aim?: Aim): void {
    if (aim === undefined) this.#server.closeAllConnections();
    else this.#faults.dropConnections(aim);
  }

  endFaults(): void {
    this.#faults.end();
  }

  snapshot(): StoreSnapshot {
    return this.store.snapshot();
  }

  restore(snapshot: StoreSnapshot): void {
    this.dropWatches();
    this.#server.closeAllConnections();
    this.store.restore(snapshot);
  }

  requireToken(token: string): void {
    this.#token = token;
  }

  serveGroup(group: string, isServed: boolean): void {
    if (isServed) this.#withoutGroups.delete(group);
    else this.#withoutGroups.add(group);
  }

  async close(): Promise<void> {
    clearInterval(this.#bookmarks);
    this.#faults.end();
    const isClosed = new Promise(resolve => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await isClosed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#faults.meet(request, response);
      if (response.destroyed) return; // gone while it was held back
      await this.#route(request, response);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else sendStatus(response, toStatusError(error));
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname === '/healthz' || pathname === '/livez' || pathname === '/readyz') {
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end('ok');
      return;
    }
    const token = this.#token;
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) throw unauthorized();
    if (pathname === '/openapi/v2') {
      const { type, body } = openApiV2(request.headers.accept ?? '');
      response.writeHead(200, { 'content-type': type }).end(body);
      return;
    }
    const without = this.#withoutGroups;
    const address = request.headers.host ?? '';
    const document = request.method === 'GET' ? discoveryDocument(pathname, { address, without }) : undefined;
    if (document !== undefined) {
      sendText(response, 200, JSON.stringify(document));
      return;
    }
    const target = parseTarget(pathname, without);
    if (target === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n');
      return;
    }
    const freshnessWaitMs = this.#options.freshnessWaitMs ?? 3000;
    const exchange: Exchange = { request, response, query, target, store: this.store, freshnessWaitMs };
    const isWatch = request.method === 'GET' && target.name === '' && parseFlag(query.get('watch')) === true;
    await (isWatch ? this.#watch(exchange) : handle(exchange));
  }

  async #watch(exchange: Exchange): Promise<void> {
    const watch = await openWatch(exchange, this.#options.watchTimeoutMs ?? 2_700_000);
    if (watch !== undefined) this.#faults.addWatch(watch, exchange.request, exchange.response);
  }
}

/** Starts an API server and resolves when it listens. Rejects when the address can't be bound. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const server = new EmbeddedApiServer(options);
  await server.listen();
  return server;
}
