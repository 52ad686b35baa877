import type { Configuration } from './config/configuration.ts';
import type { Logger } from './log.ts';
import { addWatchMetrics } from './metric-readings.ts';
import type { Metrics } from './metrics.ts';
import { startApiSource } from './watch/api-source.ts';
import { startFileSource } from './watch/file-source.ts';
import type { Store } from './watch/store.ts';

export interface SourceOptions {
  /** `dir:PATH` = manifests instead of an API server. */
  readonly source: string | undefined;
  readonly configuration: Configuration;
  readonly nodeName: string;
  /** Our own, for the API server's logs. */
  readonly version: string;
  readonly store: Store;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Fills the store from the API server of the configuration, or from the manifests of `--source dir:PATH`. */
export async function startSource(options: SourceOptions): Promise<AsyncDisposable> {
  const { source, configuration, nodeName, version, store, metrics, signal } = options;
  const log = options.log.child({ component: 'watch' });
  if (source === undefined) {
    const { kubeconfigPath, apiServer, endpointsFrom } = configuration;
    const api = await startApiSource({
      ...(kubeconfigPath === undefined ? {} : { kubeconfigPath }),
      ...(apiServer === undefined ? {} : { server: apiServer }),
      endpointsFrom,
      nodeName,
      userAgent: `kproxy-ts/${version}`,
      store,
      log,
      signal,
    });
    addWatchMetrics(metrics.registry, api);
    return api;
  }
  const directory = /^dir:(.+)$/.exec(source)?.[1];
  if (directory === undefined) throw new TypeError(`--source: must be dir:PATH, is ${source}`);
  return startFileSource({ directory, store, log, signal });
}
