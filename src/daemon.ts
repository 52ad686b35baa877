import { hostname } from 'node:os';
import { addCniMetrics } from './cni/host/metrics.ts';
import { NodeCni, type NodeCniOptions } from './cni/host/node-cni.ts';
import { ipamRoutes } from './cni/ipam/routes.ts';
import type { Configuration } from './config/configuration.ts';
import type { ConfigurationFile, LoadedConfiguration } from './config/load.ts';
import { resolveNodeName } from './config/node-name.ts';
import { addDnsMetrics } from './dns/host/metrics.ts';
import { NodeDns, type NodeDnsOptions } from './dns/host/node-dns.ts';
import { DNS_QUERY_ROUTE, dnsQueryRoute } from './dns/host/query-route.ts';
import { DUMP_PATH, dumpRoute } from './dump/server.ts';
import type { Happening } from './events/event.ts';
import type { FamilyProxy } from './family-proxy.ts';
import { compactHeap } from './heap.ts';
import { SyncHealth } from './http/health-state.ts';
import { NodeServers } from './http/servers.ts';
import { KernelSettings } from './kernel-settings.ts';
import { askHandOver, HAND_OVER_ROUTE, handOverRoute } from './lifecycle/hand-over.ts';
import { FileLock } from './lifecycle/lock.ts';
import { prepareRuntimeDir, type RuntimePaths } from './lifecycle/runtime-dir.ts';
import { dumpProxies, prepareTenure, startTenure } from './lifecycle/tenure.ts';
import { Writer } from './lifecycle/writer.ts';
import { interfaceNetworks } from './linux/addresses.ts';
import { oomScoreSetter } from './linux/oom-score.ts';
import { createLogger, type Logger, type LogLevel } from './log.ts';
import { levelOfVerbosity } from './log-level.ts';
import { addWatchMetrics } from './metric-readings.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { chooseMode } from './modes.ts';
import { nodeProxies } from './node-proxies.ts';
import { warnOfPredecessors } from './predecessors.ts';
import { LiveConfiguration } from './reload.ts';
import { ClusterSource } from './source.ts';
import { followStore, observeStore, sourceHealth } from './store-followers.ts';
import type { TakeOverNotes } from './take-over/begin.ts';
import { Predecessor } from './take-over/predecessor.ts';
import type { OptionalKind } from './watch/api-source.ts';
import { Store } from './watch/store.ts';

export interface DaemonOptions {
  /** Our own, for metrics, logs, and the other daemons of this node. */
  readonly version: string;
  /** What to run with; its warnings are logged once. */
  readonly loaded: LoadedConfiguration;
  /** The file that it is from, to be followed. */
  readonly configurationFile?: ConfigurationFile;
  /** `dir:PATH` = manifests instead of an API server. */
  readonly source?: string;
  /** `--take-over`. */
  readonly takeOver?: TakeOverNotes;
  /** Where the socket and the locks live. */
  readonly runtimeDir: string;
  /** Without it the configuration's verbosity decides, and a change of it does too. */
  readonly logLevel?: LogLevel;
}

/**
 * Runs until SIGTERM or SIGINT; the rules stay in place. The composition root: the only place where defaults meet ports. First
 * what every daemon has: configuration, store, source, families. Then it waits for the lock; whoever has that opens the
 * servers and programs the node (see `Writer`).
 * @throws ConfigurationError, RuntimeDirError, LockError, NoUsableFamilyError, ListenError, FileSourceError when it cannot start.
 */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const { version, loaded, logLevel } = options;
  const live = new LiveConfiguration(loaded);
  const { configuration } = live;
  const log = createLogger({ level: logLevel ?? levelOfVerbosity(configuration.verbosity) });
  tellBeginning(options, log);
  const signal = stopSignal(log);
  const setOomScoreAdj = oomScoreSetter({ log });
  await setOomScoreAdj(configuration.oomScoreAdj);
  const nodeName = resolveNodeName(configuration.nodeName, hostname);
  const paths = await prepareRuntimeDir(options.runtimeDir);

  await using resources = new AsyncDisposableStack();
  const store = new Store();
  const metrics = createMetrics(version);
  observeStore({ store, metrics, log });
  const mode = await chooseMode(configuration, log);
  const optional = optionalKinds(mode.name);
  const ofSource = { configuration, source: options.source, optional };
  const source = await ClusterSource.start({ ...ofSource, nodeName, version, store, log });
  resources.use(source);
  addWatchMetrics(metrics.registry, source);
  log.info({ nodeName, mode: mode.name, source: options.source }, 'waiting for the first complete list');

  // While that is under way: on a large node the tools take a second to say what there is.
  const settled = await mode.settle(configuration, log);
  const { families } = settled;
  const takesOver = options.takeOver !== undefined;
  await warnOfPredecessors({ log, takesOver });
  const predecessor = new Predecessor({ used: mode, takesOver, configuration: () => live.configuration, log });
  const syncPeriodMs = () => live.configuration[mode.name].syncPeriodMs;
  const onOwnServer = () => {
    for (const proxy of proxies) proxy.followNode();
  };
  const dns = resources.use(nodeDns({ store, nodeName, configuration, metrics, log, onOwnServer }));
  const ofHealth = {
    source: () => sourceHealth(store, source),
    others: () => [...dns.missing(), ...cni.missing()],
    now: Date.now,
  };
  const record = (happening: Happening) => events.record(happening);
  const cni = resources.use(nodeCni({ store, nodeName, configuration, paths, metrics, record, log }));
  const health = new SyncHealth({ families, syncPeriodMs, ...ofHealth });
  const kernel = new KernelSettings(log);
  const common = { version, nodeName, store, health, log, kernel, predecessor };
  const ofProxies = { ...common, settled, source, configuration, metrics, compactHeap, ownServer: () => dns.ownServer };
  const { proxies, pending, events } = nodeProxies(ofProxies, resources);
  followStore({ store, proxies, pending, health, metrics, nodeName });

  const servers = new NodeServers({ health, metrics, mode: mode.name, fields: () => live.fields, log });
  const writer = createWriter({ ...common, dns, cni, paths, mode: mode.name, proxies, servers, live, signal });
  const parts = [
    async (next: Configuration) => {
      // First: rules depend on what the kernel was told.
      if (writer.isWriting) await kernel.set(next);
      for (const proxy of proxies) proxy.configure(next);
      if (logLevel === undefined) log.setLevel(levelOfVerbosity(next.verbosity));
    },
    (next: Configuration) => servers.configure(next),
    (next: Configuration) => source.configure(next),
    (next: Configuration) => dns.configure(next),
    (next: Configuration) => cni.configure(next),
    (next: Configuration) => setOomScoreAdj(next.oomScoreAdj),
  ];
  const file = options.configurationFile;
  if (file !== undefined) resources.use(await live.follow({ file, parts, log, signal }));

  dns.start();
  await writer.run(signal);
  return 0;
}

/** Names; they hear of changes before the families, whose plans take longer. */
function nodeDns({
  metrics,
  log,
  ...common
}: Omit<NodeDnsOptions, 'networks' | 'times'> & { metrics: Metrics }): NodeDns {
  const times = addDnsMetrics(metrics.registry, async () => dns.readings());
  const dns = new NodeDns({ ...common, times, networks: interfaceNetworks, log: log.child({ component: 'dns' }) });
  common.store.onDirty(dirty => dns.note(dirty));
  return dns;
}

/** Pods' networks; it hears of the Node's pod CIDRs. */
function nodeCni({ metrics, log, ...common }: NodeCniOptions & { metrics: Metrics }): NodeCni {
  const cni = new NodeCni({ ...common, log: log.child({ component: 'cni' }) });
  addCniMetrics(metrics.registry, () => cni.readings());
  common.store.onDirty(dirty => cni.note(dirty));
  return cni;
}

/** Only the nftables mode has a rule for what no Service has, and only names need the others. */
function optionalKinds(mode: string): (configuration: Configuration) => readonly OptionalKind[] {
  return ({ dns: { enabled, pods } }) => [
    ...(mode === 'nftables' ? (['ServiceCIDR'] as const) : []),
    ...(enabled ? (['Namespace'] as const) : []),
    ...(enabled && pods === 'verified' ? (['Pod'] as const) : []),
  ];
}

function tellBeginning({ loaded, takeOver }: DaemonOptions, log: Logger): void {
  for (const warning of loaded.warnings) log.warn({ component: 'config' }, warning);
  if (takeOver === undefined) return;
  log.info({ component: 'take-over' }, takeOver.what);
  if (takeOver.warning !== undefined) log.warn({ component: 'take-over' }, takeOver.warning);
}

interface WriterParts {
  readonly version: string;
  readonly paths: RuntimePaths;
  readonly nodeName: string;
  readonly mode: string;
  readonly proxies: readonly FamilyProxy[];
  readonly store: Store;
  readonly health: SyncHealth;
  readonly servers: NodeServers;
  readonly live: LiveConfiguration;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly kernel: KernelSettings;
  readonly predecessor: Predecessor;
  readonly dns: NodeDns;
  readonly cni: NodeCni;
}

function createWriter(parts: WriterParts): Writer {
  const {
    version,
    paths,
    nodeName,
    mode,
    proxies,
    store,
    health,
    servers,
    live,
    kernel,
    predecessor,
    dns,
    cni,
    signal: stop,
  } = parts;
  const log = parts.log.child({ component: 'lifecycle' });
  const what = `kproxy-ts ${version}`;
  const routes = {
    [DUMP_PATH]: dumpRoute(() => dumpProxies({ proxies, node: nodeName, mode })),
    [HAND_OVER_ROUTE]: handOverRoute({ handOver: () => writer.handOver(), log }),
    ...ipamRoutes(() => cni.ipam),
    [DNS_QUERY_ROUTE]: dnsQueryRoute((name, type) => dns.explain(name, type)),
  };
  const writer = new Writer({
    lock: new FileLock({ path: paths.lock, what }),
    next: new FileLock({ path: paths.next, what }),
    prepare: () => prepareTenure({ proxies, store, log, signal: stop }),
    ask: signal => askHandOver({ socketPath: paths.socket, asker: { pid: process.pid, version }, signal }),
    startTenure: () =>
      startTenure({
        proxies,
        store,
        health,
        look: () => predecessor.look(),
        setKernel: () => kernel.set(live.configuration),
        socket: { path: paths.socket, routes },
        servers: { open: () => servers.open(live.configuration), close: () => servers.close() },
        names: dns,
        pods: cni,
      }),
    log,
  });
  return writer;
}

/**
 * Aborted by the first SIGTERM or SIGINT. The listeners stay: were ours gone, the one that execa keeps while a tool runs would be
 * the only one left and end the process in the middle of a sync.
 */
function stopSignal(log: Logger): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (!stop.signal.aborted) log.info({ signal }, 'stopping; the rules stay in place');
      stop.abort();
    });
  }
  return stop.signal;
}
