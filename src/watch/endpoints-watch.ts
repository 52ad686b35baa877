import { ApiError } from './api-error.ts';
import { isRecord } from './fields.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import type { ReflectorStats } from './reflector-stats.ts';
import type { Store } from './store.ts';
import { EndpointsTarget, storeTarget } from './store-target.ts';
import type { Transport } from './transport.ts';
import { type EndpointTrimming, trimEndpointSlice } from './trim.ts';
import { trimEndpoints } from './trim-endpoints.ts';

/** Where endpoints come from; `auto`: EndpointSlices, and Endpoints of a server that lacks discovery.k8s.io/v1. */
export type EndpointsSource = 'auto' | 'EndpointSlice' | 'Endpoints';

type Followed = Exclude<EndpointsSource, 'auto'>;

const GROUP_PATH = '/apis/discovery.k8s.io';
const SLICES_PATH = `${GROUP_PATH}/v1/endpointslices`;
const ENDPOINTS_PATH = '/api/v1/endpoints';
const IDLE_DEADLINE_MS = 10_000;
/** One slice at most, and nothing that would fill the memory. */
const MOST_BYTES = 32 * 2 ** 20;

export interface EndpointsWatchOptions {
  readonly from: EndpointsSource;
  readonly store: Store;
  readonly trimming?: EndpointTrimming | undefined;
  readonly reflector: Omit<ReflectorOptions<unknown>, 'resource' | 'target' | 'beforeList'>;
}

/** The JSON at a path, undefined where the server has nothing (404). Throws an ApiError for every other failure. */
async function readJson(transport: Transport, path: string, signal: AbortSignal): Promise<unknown> {
  try {
    const { body } = await transport.get(path, { idleDeadlineMs: IDLE_DEADLINE_MS, signal });
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MOST_BYTES) throw new ApiError('protocol', `more than ${MOST_BYTES / 2 ** 20} MiB: ${path}`);
    }
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined;
    if (error instanceof SyntaxError) throw new ApiError('protocol', `not JSON: ${path}`, { cause: error });
    throw error;
  }
}

/**
 * Whether the server has discovery.k8s.io/v1 (Kubernetes 1.21). Only when the group's document and the collection both say
 * no is it no: one 404 alone may be a proxy's, or of a server that just starts. undefined when we may not ask.
 */
async function hasSlices(transport: Transport, signal: AbortSignal): Promise<boolean | undefined> {
  try {
    const group = await readJson(transport, GROUP_PATH, signal);
    const versions = isRecord(group) && Array.isArray(group.versions) ? group.versions : [];
    if (versions.some(version => isRecord(version) && version.version === 'v1')) return true;
    return (await readJson(transport, `${SLICES_PATH}?limit=1`, signal)) !== undefined;
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return undefined;
    throw error;
  }
}

/**
 * Keeps the endpoints in the store, from EndpointSlices or from Endpoints. With `auto` the server is asked which it has
 * before each complete list: one that is upgraded is followed at the next complete list, or restart, not before.
 */
export class EndpointsWatch implements AsyncDisposable {
  readonly #options: EndpointsWatchOptions;
  readonly #reflectors: Reflector<never>[] = [];
  #followed: Followed;
  #isTold = false;

  constructor(options: EndpointsWatchOptions) {
    this.#options = options;
    this.#followed = options.from === 'Endpoints' ? 'Endpoints' : 'EndpointSlice';
  }

  /** Of the source that is followed; what is counted, of all that were. */
  get stats(): ReflectorStats {
    const all = this.#reflectors.map(({ stats }) => stats);
    const sum = (name: 'failures' | 'relists') => all.reduce((total, stats) => total + stats[name], 0);
    const last = all.at(-1) ?? { isConnected: false, lastContactMs: 0, resourceVersion: '' };
    const switches = Math.max(0, all.filter(({ lastContactMs }) => lastContactMs > 0).length - 1);
    return { ...last, failures: sum('failures'), relists: sum('relists') + switches };
  }

  start(): void {
    if (this.#options.from !== 'auto') this.#tell(this.#followed, 'as configured');
    this.#follow(this.#followed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#reflectors.map(reflector => reflector[Symbol.asyncDispose]()));
  }

  #follow(source: Followed): void {
    const { store, reflector: common, from, trimming } = this.#options;
    this.#followed = source;
    const end = new AbortController();
    const rest = {
      ...common,
      signal: AbortSignal.any([common.signal, end.signal]),
      ...(from === 'auto' ? { beforeList: (signal: AbortSignal) => this.#choose(source, end, signal) } : {}),
    };
    const slices = {
      kind: 'EndpointSlice',
      path: SLICES_PATH,
      trim: (raw: unknown) => trimEndpointSlice(raw, trimming),
    };
    const endpoints = { kind: 'Endpoints', path: ENDPOINTS_PATH, trim: (raw: unknown) => trimEndpoints(raw, trimming) };
    const next =
      source === 'EndpointSlice'
        ? new Reflector({ ...rest, resource: slices, target: storeTarget(store, 'EndpointSlice') })
        : new Reflector({ ...rest, resource: endpoints, target: new EndpointsTarget(store) });
    this.#reflectors.push(next as unknown as Reflector<never>);
    next.start();
  }

  /** Ends the source that is followed and follows the other one when it is the server's. */
  async #choose(source: Followed, end: AbortController, signal: AbortSignal): Promise<void> {
    const { transport, contact } = this.#options.reflector;
    const found = await hasSlices(transport, signal);
    const wanted = found === undefined ? source : found ? 'EndpointSlice' : 'Endpoints';
    if (wanted === source) {
      if (!this.#isTold) this.#tell(source, found ? 'the server has discovery.k8s.io/v1' : 'the server does not say');
      return;
    }
    end.abort();
    contact.heard(source);
    this.#tell(wanted, found ? 'the server has discovery.k8s.io/v1 now' : 'the server has no discovery.k8s.io/v1');
    this.#follow(wanted);
  }

  #tell(source: Followed, why: string): void {
    this.#isTold = true;
    this.#options.reflector.log.info({ kind: source }, `endpoints come from ${source} objects: ${why}`);
  }
}
