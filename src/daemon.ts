import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Configuration } from './config/configuration.ts';
import type { ConfigurationFile, LoadedConfiguration } from './config/load.ts';
import { resolveNodeName } from './config/node-name.ts';
import { daemonDump } from './dump/from-model.ts';
import { SOCKET_NAME, startDumpServer } from './dump/server.ts';
import { FamilyProxy } from './family-proxy.ts';
import { compactHeap } from './heap.ts';
import { healthRoutes } from './http/health.ts';
import { SyncHealth } from './http/health-state.ts';
import { HttpListener, type ListenOptions } from './http/listen.ts';
import { metricsRoutes } from './http/metrics.ts';
import { type Route, serveRoutes } from './http/routes.ts';
import { createLogger, type Logger, type LogLevel } from './log.ts';
import { levelOfVerbosity } from './log-level.ts';
import { addModelMetrics, addWatchMetrics } from './metric-readings.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { startApiSource } from './watch/api-source.ts';
import { countChanges } from './watch/changes.ts';
import { startFileSource } from './watch/file-source.ts';
import { problemLogger } from './watch/log.ts';
import type { IPFamily } from './watch/objects.ts';
import { Store } from './watch/store.ts';

export interface DaemonOptions {
  /** Our own, for metrics and the API server's logs. */
  readonly version: string;
  /** What to run with; its warnings are logged once. */
  readonly loaded: LoadedConfiguration;
  /** The file that it is from, to be followed. */
  readonly configurationFile?: ConfigurationFile;
  /** `dir:PATH` = manifests instead of an API server. */
  readonly source?: string;
  /** Where the socket for `dump` lives. */
  readonly runtimeDir: string;
  /** Without it the configuration's verbosity decides, and a change of it does too. */
  readonly logLevel?: LogLevel;
}

/** The families that are programmed; IPv6 comes with the second backend instance. */
const FAMILIES: readonly IPFamily[] = ['IPv4'];

/**
 * Runs until SIGTERM or SIGINT; the rules stay in place. The composition root: the only place where defaults meet ports.
 * @throws ConfigurationError, AnotherDaemonError, ListenError, FileSourceError when it cannot start.
 */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const { runtimeDir } = options;
  const { configuration, warnings } = options.loaded;
  const log = createLogger({ level: options.logLevel ?? levelOfVerbosity(configuration.verbosity) });
  for (const warning of warnings) log.warn({ component: 'config' }, warning);
  const stop = new AbortController();
  const stopped = stopSignal();
  const nodeName = resolveNodeName(configuration.nodeName, hostname);
  await mkdir(runtimeDir, { recursive: true, mode: 0o700 });

  await using resources = new AsyncDisposableStack();
  const metrics = createMetrics(options.version);
  const health = new SyncHealth({
    families: FAMILIES,
    syncPeriodMs: configuration.iptables.syncPeriodMs,
    now: Date.now,
  });
  const store = new Store();
  store.onProblem(problemLogger(log.child({ component: 'watch' })));
  const proxies = FAMILIES.map(
    family =>
      new FamilyProxy({ family, variant: 'nft', configuration, nodeName, store, health, metrics, log, compactHeap }),
  );
  // Before anything is programmed and until nothing is any more: whoever holds the socket is the node's only writer.
  resources.use(
    await startDumpServer({
      socketPath: join(runtimeDir, SOCKET_NAME),
      state: async () =>
        daemonDump({
          node: nodeName,
          mode: configuration.mode,
          families: await Promise.all(
            proxies.map(async proxy => ({ family: proxy.family, ...(await proxy.observe()) })),
          ),
          pause: setImmediate,
        }),
      log: log.child({ component: 'dump' }),
    }),
  );
  for (const proxy of proxies) resources.defer(() => proxy.close());
  addModelMetrics(metrics.registry, () => proxies.map(proxy => proxy.model));
  countStoreChanges(store, metrics);
  store.onDirty(dirty => {
    health.sawNode(store.snapshot.nodes.get(nodeName));
    for (const proxy of proxies) proxy.note(dirty);
  });
  resources.use(await startServers(configuration, { health, metrics, log }));
  resources.use(await startSource(options, { store, metrics, log, signal: stop.signal }));
  log.info({ nodeName, mode: configuration.mode, source: options.source }, 'waiting for the first complete list');
  store.synced.then(
    () => {
      for (const proxy of proxies) proxy.start();
    },
    (error: unknown) => log.error({ err: error }, 'the first list failed'),
  );
  const signal = await stopped;
  log.info({ signal }, 'stopping; the rules stay in place');
  stop.abort();
  return 0;
}

/**
 * The first SIGTERM or SIGINT. The listeners stay: were ours gone, the one that execa keeps while a tool runs would be the only
 * one left and end the process in the middle of a sync.
 */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise(resolve => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, resolve);
  });
}

/** Both HTTP servers, or none when one fails hard. */
async function startServers(
  configuration: Configuration,
  ports: { health: SyncHealth; metrics: Metrics; log: Logger },
): Promise<AsyncDisposable> {
  const { health, metrics } = ports;
  const log = ports.log.child({ component: 'http' });
  const onProbe = (probe: 'healthz' | 'livez', status: number) => {
    (probe === 'healthz' ? metrics.healthzProbes : metrics.livezProbes).inc({ code: String(status) });
  };
  const common = { isFailureFatal: configuration.bindAddressHardFail, log };
  await using started = new AsyncDisposableStack();
  const start = async (
    options: Pick<ListenOptions, 'name' | 'address' | 'port'>,
    routes: Readonly<Record<string, Route>>,
  ) => started.use(await HttpListener.start({ ...options, ...common, handler: serveRoutes(routes) }));
  await start({ name: 'health', ...configuration.healthz }, healthRoutes({ state: health, now: Date.now, onProbe }));
  await start(
    { name: 'metrics', ...configuration.metrics },
    metricsRoutes({ registry: metrics.registry, proxyMode: configuration.mode }),
  );
  return started.move();
}

/** The first lists count too, as in kube-proxy. */
function countStoreChanges(store: Store, metrics: Metrics): void {
  let before = store.snapshot;
  store.onDirty(dirty => {
    const { services, endpointSlices } = countChanges(before, store.snapshot, dirty);
    before = store.snapshot;
    metrics.serviceChanges.inc(services);
    metrics.endpointChanges.inc(endpointSlices);
  });
}

/** The API server of the configuration, or the manifests of `--source dir:PATH`. */
async function startSource(
  { source, loaded: { configuration }, version }: DaemonOptions,
  ports: { store: Store; metrics: Metrics; log: Logger; signal: AbortSignal },
): Promise<AsyncDisposable> {
  const { store, metrics, signal } = ports;
  const log = ports.log.child({ component: 'watch' });
  if (source === undefined) {
    const { kubeconfigPath } = configuration;
    const userAgent = `kproxy-ts/${version}`;
    const where = kubeconfigPath === undefined ? {} : { kubeconfigPath };
    const api = await startApiSource({ ...where, userAgent, store, log, signal });
    addWatchMetrics(metrics.registry, api);
    return api;
  }
  const directory = /^dir:(.+)$/.exec(source)?.[1];
  if (directory === undefined) throw new TypeError(`--source: must be dir:PATH, is ${source}`);
  return startFileSource({ directory, store, log, signal });
}
