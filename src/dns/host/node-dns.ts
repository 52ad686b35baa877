import { isDeepStrictEqual } from 'node:util';
import type { Configuration } from '../../config/configuration.ts';
import type { MissingPart } from '../../http/health-state.ts';
import type { Logger } from '../../log.ts';
import { changesBetween, type StoreChanges } from '../../watch/changes.ts';
import type { Dirty, Snapshot } from '../../watch/snapshot.ts';
import { Store } from '../../watch/store.ts';
import type { Explanation } from '../explain.ts';
import type { DnsReadings } from '../readings.ts';
import type { DnsSettings } from '../settings.ts';
import type { ListenFailure, SocketAddress } from '../worker/messages.ts';
import { changesOf, everything } from './feed.ts';
import type { DnsTimes } from './metrics.ts';
import { Nameservers } from './nameservers.ts';
import { listenAddresses, settingsOf } from './settings.ts';
import { Workers } from './workers.ts';

export interface NodeDnsOptions {
  readonly store: Store;
  readonly nodeName: string;
  readonly configuration: Configuration;
  readonly log: Logger;
  readonly times?: DnsTimes;
  /** The networks of this machine's interfaces, CIDRs. */
  readonly networks: () => readonly string[];
}

/** Until an address that couldn't be had is tried again, and workers that died are replaced. */
const AGAIN_MS = 1000;

/** A writer of resolv.conf writes on within this time. */
const QUIET_MS = 100;

/** What a running set of workers was made with; where that is different, others take their place. */
type Basis = Pick<Configuration['dns'], 'workers' | 'namespaces' | 'endpointPodNames' | 'pods'>;

interface Running {
  readonly workers: Workers;
  readonly basis: Basis;
  settings: DnsSettings;
  /** Resolves when they answer from a complete list. */
  readonly complete: Promise<void>;
}

/** Names of the cluster on this node: workers, and what they are told. */
export class NodeDns implements AsyncDisposable {
  readonly #options: NodeDnsOptions;
  readonly #nameservers: Nameservers;
  #configuration: Configuration;
  #running: Running | undefined;
  /** What the workers were told of. */
  #told: Snapshot | undefined;
  #failures: readonly ListenFailure[] = [];
  #answered: readonly SocketAddress[] = [];
  /** A worker has died: others take the place of all. */
  #isBroken = false;
  #work: Promise<void> = Promise.resolve();
  #again: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: NodeDnsOptions) {
    this.#options = options;
    this.#configuration = options.configuration;
    this.#nameservers = new Nameservers(options.log, () => this.#tryAgain(QUIET_MS));
  }

  /** Resolves when it listens, as far as it can; names of the cluster get SERVFAIL until the store is complete. */
  configure(next: Configuration): Promise<void> {
    this.#configuration = next;
    return this.#reconcile();
  }

  /** The store has changed. */
  note(dirty: Dirty): void {
    const { store, nodeName } = this.#options;
    if (this.#running !== undefined && this.#told !== undefined) {
      const before = this.#told;
      this.#told = store.snapshot;
      this.#running.workers.apply(changesOf(before, store.snapshot, dirty, this.#configuration.dns));
      this.#time(this.#running.workers, changesBetween(before, store.snapshot, dirty));
    }
    if (dirty.nodes.has(nodeName)) this.#reconcileLater();
  }

  /** Resolves when the workers that run now answer from a complete list. */
  get complete(): Promise<void> {
    return this.#running?.complete ?? Promise.resolve();
  }

  /** Why names aren't all answered; empty when they are, or aren't to be. */
  missing(): readonly MissingPart[] {
    if (!this.#configuration.dns.enabled) return [];
    const parts = this.#failures.map(({ address, port, message }) => `${address} port ${port}: ${message}`);
    if (this.#told === undefined) parts.push('no complete list yet');
    return parts.map(reason => ({ part: 'dns', reason }));
  }

  /** Of each worker; none while there are none. */
  async readings(): Promise<readonly DnsReadings[]> {
    return (await this.#running?.workers.readings()) ?? [];
  }

  /** Undefined where DNS isn't enabled. */
  async explain(name: string, type: number): Promise<Explanation | undefined> {
    return this.#running?.workers.explain(name, type);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#nameservers[Symbol.dispose]();
    clearTimeout(this.#again);
    await this.#work;
    await this.#running?.workers[Symbol.asyncDispose]();
  }

  /** Observes how long it takes until changes are answered. */
  #time(workers: Workers, { services, slices }: StoreChanges): void {
    const { times } = this.#options;
    if (times === undefined || services.length + slices.length === 0) return;
    const startedAt = performance.now();
    workers.settled().then(
      () => {
        times.update.observe((performance.now() - startedAt) / 1000);
        for (const { changeTriggerMs } of slices) {
          if (changeTriggerMs > 0) times.programming.observe(Math.max(0, Date.now() - changeTriggerMs) / 1000);
        }
      },
      () => undefined, // they ended before: others begin with everything
    );
  }

  /** Makes what runs as the configuration and the node are now; one at a time. */
  #reconcile(): Promise<void> {
    const work = this.#work.then(() => (this.#isClosed ? undefined : this.#reconcileNow()));
    this.#work = work.catch(() => undefined);
    return work;
  }

  #reconcileLater(): void {
    this.#reconcile().catch((error: unknown) => {
      this.#options.log.error({ err: error }, `names: ${messageOf(error)}`);
      this.#tryAgain();
    });
  }

  async #reconcileNow(): Promise<void> {
    const { dns } = this.#configuration;
    if (!dns.enabled) {
      await this.#stop();
      return;
    }
    const settings = await this.#settings();
    const before = this.#running;
    const basis = basisOf(dns);
    if (before === undefined || this.#isBroken || !isDeepStrictEqual(before.basis, basis)) this.#start(settings, basis);
    else if (!isDeepStrictEqual(before.settings, settings)) before.workers.configure(settings);
    if (this.#running !== undefined) this.#running.settings = settings;
    await this.#listen();
    // Only now: what was asked of them meanwhile is answered.
    if (before !== undefined && before !== this.#running) await before.workers[Symbol.asyncDispose]();
  }

  async #stop(): Promise<void> {
    const before = this.#running;
    this.#running = undefined;
    this.#told = undefined;
    this.#failures = [];
    this.#answered = [];
    this.#nameservers.forget();
    await before?.workers[Symbol.asyncDispose]();
    if (before !== undefined) this.#options.log.info('names are no longer answered');
  }

  #start(settings: DnsSettings, basis: Basis): void {
    const { log } = this.#options;
    const workers = new Workers({
      count: basis.workers,
      settings,
      log,
      onDeath: error => this.#died(workers, error),
    });
    this.#isBroken = false;
    this.#told = undefined;
    const complete = this.#tellAll(workers);
    // One that ends before is told of by its death.
    complete.catch(() => undefined);
    this.#running = { workers, basis, settings, complete };
  }

  /** As soon as there is a complete list of everything that names are made of. */
  async #tellAll(workers: Workers): Promise<void> {
    const { store } = this.#options;
    const { dns } = this.#configuration;
    await Promise.all([
      store.synced,
      store.listed('Namespace'),
      dns.pods === 'verified' ? store.listed('Pod') : undefined,
    ]);
    if (this.#running?.workers !== workers) return;
    this.#told = store.snapshot;
    workers.apply(everything(new Store().snapshot, this.#told, dns));
    workers.synced();
    await workers.settled();
  }

  async #settings(): Promise<DnsSettings> {
    const { store, nodeName, networks } = this.#options;
    const { dns, detectLocal } = this.#configuration;
    return settingsOf(dns, {
      node: store.snapshot.nodes.get(nodeName),
      detectLocal,
      networks: networks(),
      nameservers: dns.upstreams === undefined ? await this.#nameservers.read(dns.resolvConf) : [],
    });
  }

  async #listen(): Promise<void> {
    const { store, nodeName } = this.#options;
    const addresses = listenAddresses(this.#configuration.dns, store.snapshot.nodes.get(nodeName));
    const failures = await this.#running?.workers.listen(addresses).catch(asFailures(addresses));
    this.#tellFailures(failures ?? [], addresses);
    if (this.#failures.length > 0) this.#tryAgain();
  }

  #tellFailures(failures: readonly ListenFailure[], addresses: readonly SocketAddress[]): void {
    const { log } = this.#options;
    const isNew = !isDeepStrictEqual(failures, this.#failures);
    this.#failures = failures;
    for (const { address, port, message } of isNew ? failures : []) {
      log.error({ address, port }, `no names at ${address} port ${port}: ${message}; tried again every second`);
    }
    const isRefused = (where: SocketAddress) =>
      failures.some(({ address, port }) => address === where.address && port === where.port);
    const answered = addresses.filter(where => !isRefused(where));
    if (!isDeepStrictEqual(answered, this.#answered)) log.info({ addresses: answered }, 'names are answered at these');
    this.#answered = answered;
  }

  #tryAgain(afterMs = AGAIN_MS): void {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#reconcileLater(), afterMs);
    this.#again.unref();
  }

  #died(workers: Workers, error: Error): void {
    if (this.#running?.workers !== workers || this.#isClosed) return;
    this.#options.log.error({ err: error }, `${error.message}; others take the workers' place`);
    this.#isBroken = true;
    this.#tryAgain();
  }
}

function basisOf({ workers, namespaces, endpointPodNames, pods }: Basis): Basis {
  return { workers, namespaces, endpointPodNames, pods };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function asFailures(addresses: readonly SocketAddress[]): (error: unknown) => readonly ListenFailure[] {
  return error => addresses.map(where => ({ ...where, message: messageOf(error) }));
}
