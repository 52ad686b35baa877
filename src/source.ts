import { isDeepStrictEqual } from 'node:util';
import type { Configuration } from './config/configuration.ts';
import type { Logger } from './log.ts';
import { type ApiSource, type OptionalKind, startApiSource } from './watch/api-source.ts';
import { startFileSource } from './watch/file-source.ts';
import type { Store } from './watch/store.ts';
import type { SendChange } from './watch/transport.ts';

export interface ClusterSourceOptions {
  readonly configuration: Configuration;
  /** `dir:PATH` = manifests instead of an API server. */
  readonly source: string | undefined;
  readonly nodeName: string;
  /** Our own, for the API server's logs. */
  readonly version: string;
  /** See ApiSourceOptions; manifests always have all of them. */
  readonly optional: (configuration: Configuration) => readonly OptionalKind[];
  readonly store: Store;
  readonly log: Logger;
}

interface RunningSource extends AsyncDisposable {
  /** Only of an API server. */
  readonly stats?: ApiSource['stats'];
  readonly send?: SendChange;
}

/** Fills the store from the API server of the configuration, or from the manifests of `--source dir:PATH`. */
export class ClusterSource implements AsyncDisposable {
  readonly #options: ClusterSourceOptions;
  #configuration: Configuration;
  #running: RunningSource;

  private constructor(options: ClusterSourceOptions, running: RunningSource) {
    this.#options = options;
    this.#configuration = options.configuration;
    this.#running = running;
  }

  /** Rejects when the kubeconfig or the directory can't be read; a server that doesn't answer is tried for ever. */
  static async start(options: ClusterSourceOptions): Promise<ClusterSource> {
    return new ClusterSource(options, await startSource(options, options.configuration));
  }

  /** What the API server's watches have seen; undefined for manifests. */
  get stats(): ApiSource['stats'] | undefined {
    return this.#running.stats;
  }

  /** Changes something on the API server; undefined for manifests. */
  get send(): SendChange | undefined {
    return this.#running.send;
  }

  /**
   * Goes over to another kubeconfig or another kind of endpoints: the store keeps its objects, and what the first list from there
   * lacks is removed. Rejects when the kubeconfig can't be read; the source before then goes on.
   */
  async configure(next: Configuration): Promise<void> {
    const before = this.#configuration;
    const isSame =
      next.kubeconfigPath === before.kubeconfigPath &&
      next.apiServer === before.apiServer &&
      next.endpointsFrom === before.endpointsFrom &&
      next.dns.endpointPodNames === before.dns.endpointPodNames &&
      isDeepStrictEqual(this.#options.optional(next), this.#options.optional(before));
    if (isSame || this.#options.source !== undefined) return;
    const previous = this.#running;
    this.#running = await startSource(this.#options, next);
    this.#configuration = next;
    await previous[Symbol.asyncDispose]();
    this.#options.log.info({ component: 'watch' }, 'listing again, as the configuration says now');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running[Symbol.asyncDispose]();
  }
}

async function startSource(options: ClusterSourceOptions, configuration: Configuration): Promise<RunningSource> {
  const { source, nodeName, version, optional, store } = options;
  const log = options.log.child({ component: 'watch' });
  const signal = new AbortController().signal; // disposal ends it
  if (source === undefined) {
    const { kubeconfigPath, apiServer, endpointsFrom } = configuration;
    return startApiSource({
      ...(kubeconfigPath === undefined ? {} : { kubeconfigPath }),
      ...(apiServer === undefined ? {} : { server: apiServer }),
      endpointsFrom,
      nodeName,
      optional: optional(configuration),
      trimming: { keepsPodNames: configuration.dns.endpointPodNames },
      userAgent: `kproxy-ts/${version}`,
      store,
      log,
      signal,
    });
  }
  const directory = /^dir:(.+)$/.exec(source)?.[1];
  if (directory === undefined) throw new TypeError(`--source: must be dir:PATH, is ${source}`);
  return startFileSource({ directory, store, log, signal });
}
