import { hostname } from 'node:os';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import type { Configuration } from './config/configuration.ts';
import type { ConfigurationFile, LoadedConfiguration } from './config/load.ts';
import { resolveNodeName } from './config/node-name.ts';
import { daemonDump } from './dump/from-model.ts';
import { DUMP_PATH, dumpRoute } from './dump/server.ts';
import { FamilyProxy } from './family-proxy.ts';
import { compactHeap } from './heap.ts';
import { SyncHealth } from './http/health-state.ts';
import { startServers } from './http/servers.ts';
import { askHandOver, HAND_OVER_ROUTE, handOverRoute } from './lifecycle/hand-over.ts';
import { FileLock } from './lifecycle/lock.ts';
import { prepareRuntimeDir } from './lifecycle/runtime-dir.ts';
import { startTenure } from './lifecycle/tenure.ts';
import { Writer } from './lifecycle/writer.ts';
import { createLogger, type Logger, type LogLevel } from './log.ts';
import { levelOfVerbosity } from './log-level.ts';
import { addModelMetrics } from './metric-readings.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { startSource } from './source.ts';
import { countChanges } from './watch/changes.ts';
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
  /** Where the socket and the locks live. */
  readonly runtimeDir: string;
  /** Without it the configuration's verbosity decides, and a change of it does too. */
  readonly logLevel?: LogLevel;
}

/** The families that are programmed; IPv6 comes with the second backend instance. */
const FAMILIES: readonly IPFamily[] = ['IPv4'];

/** How long to wait before the kernel is read again, when it couldn't be. */
const PREPARE_AGAIN_MS = 5000;

/**
 * Runs until SIGTERM or SIGINT; the rules stay in place. The composition root: the only place where defaults meet ports.
 * @throws ConfigurationError, RuntimeDirError, LockError, ListenError, FileSourceError when it cannot start.
 */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const { version } = options;
  const { configuration, warnings } = options.loaded;
  const log = createLogger({ level: options.logLevel ?? levelOfVerbosity(configuration.verbosity) });
  const stop = stopOnSignal(log);
  for (const warning of warnings) log.warn({ component: 'config' }, warning);
  const nodeName = resolveNodeName(configuration.nodeName, hostname);
  const paths = await prepareRuntimeDir(options.runtimeDir);

  await using resources = new AsyncDisposableStack();
  const metrics = createMetrics(version);
  const health = new SyncHealth({
    families: FAMILIES,
    syncPeriodMs: configuration.iptables.syncPeriodMs,
    now: Date.now,
  });
  const store = new Store();
  const proxies = FAMILIES.map(
    family =>
      new FamilyProxy({ family, variant: 'nft', configuration, nodeName, store, health, metrics, log, compactHeap }),
  );
  for (const proxy of proxies) resources.defer(() => proxy.close());
  connect({ store, proxies, health, metrics, nodeName, log });
  resources.use(
    await startSource({
      source: options.source,
      configuration,
      version,
      nodeName,
      store,
      metrics,
      log,
      signal: stop.signal,
    }),
  );
  resources.defer(() => stop.abort());
  log.info({ nodeName, mode: configuration.mode, source: options.source }, 'waiting for the first complete list');

  const what = `kproxy-ts ${version}`;
  const lifecycleLog = log.child({ component: 'lifecycle' });
  const socketRoutes = {
    [DUMP_PATH]: dumpRoute(() => dumpOf({ nodeName, configuration, proxies })),
    [HAND_OVER_ROUTE]: handOverRoute({ handOver: () => writer.handOver(), log: lifecycleLog }),
  };
  const writer = new Writer({
    lock: new FileLock({ path: paths.lock, what }),
    next: new FileLock({ path: paths.next, what }),
    prepare: () => prepare({ store, proxies, log: lifecycleLog, signal: stop.signal }),
    ask: signal => askHandOver({ socketPath: paths.socket, asker: { pid: process.pid, version }, signal }),
    startTenure: () =>
      startTenure({
        proxies,
        store,
        health,
        socket: { path: paths.socket, routes: socketRoutes },
        startServers: () => startServers(configuration, { health, metrics, log }),
      }),
    log: lifecycleLog,
  });
  await writer.run(stop.signal);
  return 0;
}

/**
 * Aborted by the first SIGTERM or SIGINT. The listeners stay: were ours gone, the one that execa keeps while a tool runs would be
 * the only one left and end the process in the middle of a sync.
 */
function stopOnSignal(log: Logger): AbortController {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (!stop.signal.aborted) log.info({ signal }, 'stopping; the rules stay in place');
      stop.abort();
    });
  }
  return stop;
}

interface Parts {
  readonly store: Store;
  readonly proxies: readonly FamilyProxy[];
  readonly health: SyncHealth;
  readonly metrics: Metrics;
  readonly nodeName: string;
  readonly log: Logger;
}

/** Everything that follows the store. */
function connect({ store, proxies, health, metrics, nodeName, log }: Parts): void {
  store.onProblem(problemLogger(log.child({ component: 'watch' })));
  store.onDirty(dirty => {
    health.sawNode(store.snapshot.nodes.get(nodeName));
    for (const proxy of proxies) proxy.note(dirty);
  });
  countStoreChanges(store, metrics);
  addModelMetrics(metrics.registry, () => proxies.map(proxy => proxy.model));
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

/**
 * Resolves once this process could write: the store is complete and the kernel's rules can be read. One that couldn't must not
 * ask another to hand over. Stays pending when aborted.
 */
async function prepare(parts: Pick<Parts, 'store' | 'proxies' | 'log'> & { signal: AbortSignal }): Promise<void> {
  const { store, proxies, log, signal } = parts;
  await store.synced;
  for (;;) {
    try {
      for (const proxy of proxies) await proxy.observe();
      return;
    } catch (error) {
      log.error({ err: error }, "the kernel's rules can't be read; this process doesn't ask to write them");
    }
    await delay(PREPARE_AGAIN_MS, undefined, { signal }).catch(() => new Promise<never>(() => undefined));
  }
}

async function dumpOf(parts: { nodeName: string; configuration: Configuration; proxies: readonly FamilyProxy[] }) {
  const { nodeName, configuration, proxies } = parts;
  return daemonDump({
    node: nodeName,
    mode: configuration.mode,
    families: await Promise.all(proxies.map(async proxy => ({ family: proxy.family, ...(await proxy.observe()) }))),
    pause: setImmediate,
  });
}
