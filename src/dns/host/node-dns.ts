import { isDeepStrictEqual } from 'node:util';
import type { Configuration } from '../../config/configuration.ts';
import type { OwnServer } from '../../endpoints/types.ts';
import type { MissingPart } from '../../http/health-state.ts';
import type { Logger } from '../../log.ts';
import { changesBetween } from '../../watch/changes.ts';
import type { Node } from '../../watch/objects.ts';
import type { Dirty, Snapshot } from '../../watch/snapshot.ts';
import type { Store } from '../../watch/store.ts';
import type { Explanation } from '../explain.ts';
import type { DnsReadings } from '../readings.ts';
import type { DnsSettings } from '../settings.ts';
import { messageOf } from '../worker/fault.ts';
import { Feed } from './feed.ts';
import { isListed, listed } from './listed.ts';
import { ListenReport } from './listen-report.ts';
import { type DnsTimes, observeChanges } from './metrics.ts';
import { missingParts } from './missing.ts';
import { Nameservers } from './nameservers.ts';
import { OwnEndpoint, type OwnServerFacts } from './own-endpoint.ts';
import { Replacement } from './replacement.ts';
import { type Basis, basisOf, isCompleted, type Running } from './running.ts';
import { Serving } from './serving.ts';
import { listenAddresses, nodeIPs, serviceFacts, settingsOf } from './settings.ts';
import { Wake } from './wake.ts';
import { Workers } from './workers.ts';

export interface NodeDnsOptions {
  readonly store: Store;
  readonly nodeName: string;
  readonly configuration: Configuration;
  readonly log: Logger;
  readonly times?: DnsTimes;
  /** `ownServer` is another one. */
  readonly onOwnServer?: () => void;
  /** The networks of this machine's interfaces, CIDRs. */
  readonly networks: () => readonly string[];
}

/** Until an address that couldn't be had is tried again. */
const AGAIN_MS = 1000;
/** For what somebody took away, and networks that came. */
const LOOK_MS = 30_000;
/** A writer of resolv.conf writes on within this time. */
const QUIET_MS = 100;

/** Names of the cluster on this node: workers, and what they are told. */
export class NodeDns implements AsyncDisposable {
  readonly #options: NodeDnsOptions;
  readonly #nameservers: Nameservers;
  #configuration: Configuration;
  #running: Running | undefined;
  /** What the workers were told of. */
  #told: Snapshot | undefined;
  readonly #report: ListenReport;
  readonly #replacement = new Replacement(() => this.start());
  /** Others have taken their place, but don't answer from a complete list yet. */
  readonly #replaced = new Set<Running>();
  #work: Promise<void> = Promise.resolve();
  /** What will begin when what is under way is done. */
  #queued: Promise<void> | undefined;
  readonly #wake = new Wake(() => this.start());
  #isClosed = false;
  readonly #serving: Serving;
  /** While another process is, the addresses stay as they are. */
  #isWriter = false;
  /** Another process answers in this one's place: two of which one hangs would be worse than that one alone, as questions would still come to it. */
  #standsBy = false;
  /** Until then another process may answer at the same addresses, and knows what this one doesn't yet. */
  #listensUnlisted = false;
  readonly #own: OwnEndpoint;

  constructor(options: NodeDnsOptions) {
    this.#options = options;
    this.#configuration = options.configuration;
    this.#report = new ListenReport(options.log);
    this.#serving = new Serving(options.log);
    this.#own = new OwnEndpoint(() => options.onOwnServer?.());
    this.#nameservers = new Nameservers(options.log, () => this.#wake.after(QUIET_MS));
  }

  /** Begins with the configuration as it is, and listens when it knows the cluster; what goes wrong is logged, and tried again. */
  start(): void {
    this.#reconcile().catch((error: unknown) => {
      this.#options.log.error({ err: error }, `names: ${messageOf(error)}`);
      this.#wake.after(AGAIN_MS);
    });
  }

  /** Resolves when it listens, as far as it can; names of the cluster get SERVFAIL until the store is complete. */
  configure(next: Configuration): Promise<void> {
    this.#configuration = next;
    this.#own.look(this.#ownFacts);
    this.#listensUnlisted = true;
    return this.#reconcile();
  }

  /** The store has changed. */
  note(dirty: Dirty): void {
    const { store, nodeName, times } = this.#options;
    if (this.#running !== undefined && this.#told !== undefined) {
      const before = this.#told;
      this.#told = store.snapshot;
      this.#running.workers.apply(this.#running.feed.changes(store.snapshot, dirty));
      if (times !== undefined)
        observeChanges(times, this.#running.workers, changesBetween(before, store.snapshot, dirty));
    }
    const { dns } = this.#configuration;
    if (dirty.nodes.has(nodeName) || dirty.services.has(dns.service)) this.start();
  }

  /** Resolves when the workers that run now answer from a complete list. */
  get complete(): Promise<void> {
    return this.#running?.complete ?? Promise.resolve();
  }

  /** Which endpoints of the DNS Service are this node's, where they are to be left out. For whoever plans. */
  get ownServer(): OwnServer | undefined {
    return this.#own.tell(this.#ownFacts);
  }

  /** Why names aren't all answered; empty when they are, or aren't to be. */
  missing(): readonly MissingPart[] {
    const { dns } = this.#configuration;
    if (!dns.enabled || this.#standsBy) return [];
    const isComplete = this.#running?.isComplete === true;
    return missingParts({ dns, node: this.#node, report: this.#report, isComplete, death: this.#replacement.death });
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
    this.#wake[Symbol.dispose]();
    this.#replacement[Symbol.dispose]();
    await this.#work;
    await this.#serving.withdraw();
    await Promise.all([this.#running?.workers[Symbol.asyncDispose](), this.#endReplaced()]);
    await this.#serving.end();
  }

  /** This process is the node's writer: the DNS Service's addresses are served here. */
  serve(): void {
    this.#isWriter = true;
    this.#standsBy = false;
    this.#listensUnlisted = true;
    this.start();
  }

  /** Another process becomes the writer. This one goes on answering, at the addresses as they are, until that one does. */
  release(): void {
    this.#isWriter = false;
    this.start();
  }

  /** Makes what runs as the configuration and the node are now; one at a time, and what hasn't begun will do for whoever asks meanwhile. */
  #reconcile(): Promise<void> {
    this.#queued ??= this.#work.then(() => {
      this.#queued = undefined;
      return this.#isClosed ? undefined : this.#reconcileNow();
    });
    this.#work = this.#queued.catch(() => undefined); // told to whoever asked
    return this.#queued;
  }

  async #reconcileNow(): Promise<void> {
    const { dns } = this.#configuration;
    if (!dns.enabled) {
      await this.#stop();
      return;
    }
    const running = this.#runningWith(await this.#settings());
    // Others' workers answer so long, if they know more.
    const isAnswered = [...this.#replaced].some(({ isComplete }) => isComplete);
    const isKnown = isListed(this.#options.store, this.#configuration.dns);
    // Where they died their own replacement will be here.
    if (isKnown ? !(await isCompleted(running)) : isAnswered) return;
    if (isKnown || this.#listensUnlisted) await this.#listen(running);
    // Only now: what was asked of them meanwhile is answered.
    await this.#endReplaced();
  }

  async #endReplaced(): Promise<void> {
    const ended = [...this.#replaced];
    await Promise.all(ended.map(({ workers }) => workers[Symbol.asyncDispose]()));
    for (const running of ended) this.#replaced.delete(running);
  }

  /** What runs, with these settings; other workers where what runs can't have them. */
  #runningWith(settings: DnsSettings): Running {
    const basis = basisOf(this.#configuration.dns);
    const running = this.#running;
    if (running === undefined || this.#replacement.isDue || !isDeepStrictEqual(running.basis, basis)) {
      if (running !== undefined) this.#replaced.add(running);
      return this.#start(settings, basis);
    }
    if (!isDeepStrictEqual(running.settings, settings)) running.workers.configure(settings);
    running.settings = settings;
    return running;
  }

  async #stop(): Promise<void> {
    const before = this.#running;
    this.#running = undefined;
    this.#told = undefined;
    this.#replacement[Symbol.dispose]();
    this.#report.forget();
    this.#nameservers.forget();
    if (before !== undefined) await this.#serving.withdraw();
    if (before !== undefined && this.#isWriter) await this.#serving.set(before.workers, []);
    this.#own.note([], this.#ownFacts);
    await Promise.all([before?.workers[Symbol.asyncDispose](), this.#endReplaced()]);
    if (before !== undefined) this.#options.log.info('names are no longer answered');
  }

  #start(settings: DnsSettings, basis: Basis): Running {
    const { log } = this.#options;
    const onDeath = (error: Error) => this.#died(workers, error);
    const workers = new Workers({ count: basis.workers, settings, log, onDeath });
    this.#replacement.done();
    this.#told = undefined;
    const feed = new Feed(this.#configuration.dns);
    const complete = this.#tellAll(workers, feed);
    // One that ends before is told of by its death.
    complete.catch(() => undefined);
    this.#running = { workers, feed, basis, settings, complete, isComplete: false };
    return this.#running;
  }

  /** As soon as there is a complete list of everything that names are made of. */
  async #tellAll(workers: Workers, feed: Feed): Promise<void> {
    const { store } = this.#options;
    await listed(store, this.#configuration.dns);
    if (this.#running?.workers !== workers) return;
    this.#told = store.snapshot;
    workers.apply(feed.everything(this.#told));
    workers.synced();
    await workers.settled();
    if (this.#running.workers === workers) this.#running.isComplete = true;
    this.#wake.after(0);
  }

  async #settings(): Promise<DnsSettings> {
    const { networks, store } = this.#options;
    const { dns, detectLocal } = this.#configuration;
    const nameservers = dns.upstreams === undefined ? await this.#nameservers.read(dns.resolvConf) : [];
    const facts = serviceFacts(store.snapshot, dns.service);
    return settingsOf(dns, { node: this.#node, detectLocal, networks: networks(), ...facts, nameservers });
  }

  async #listen(running: Running): Promise<void> {
    const { workers } = running;
    if (this.#standsBy) return;
    // Looked at again: that one may have ended meanwhile, and this one be the writer.
    if (!this.#isWriter && (await this.#serving.isFollowed()) && !this.#isWriter) {
      this.#standsBy = true;
      await this.#serving.withdraw();
      await workers.listen([]);
      return this.#options.log.info('another process answers names in the place of this one');
    }
    const { dns } = this.#configuration;
    const { served: wanted } = serviceFacts(this.#options.store.snapshot, dns.service);
    if (this.#isWriter) this.#own.note(await this.#serving.set(workers, wanted), this.#ownFacts);
    const served = this.#own.served.map(({ ip, port }) => ({ address: ip, port }));
    const addresses = [...listenAddresses(dns, this.#node), ...served];
    const failures = await workers.listen(addresses);
    this.#report.note(addresses, failures);
    const isServed = served.length > 0 && !served.some(where => this.#report.hasFailed(where));
    if (this.#replacement.death === undefined) await workers.beat(isServed && running.isComplete);
    const isLeaving = !this.#isWriter && served.length > 0;
    this.#wake.after(failures.length > 0 || isLeaving ? AGAIN_MS : LOOK_MS);
  }

  get #node(): Node | undefined {
    return this.#options.store.snapshot.nodes.get(this.#options.nodeName);
  }

  get #ownFacts(): OwnServerFacts {
    const { enabled, service } = this.#configuration.dns;
    return { enabled, service, ips: nodeIPs(this.#node) };
  }

  #died(workers: Workers, error: Error): void {
    if (this.#isClosed) return;
    this.#options.times?.deaths.inc();
    if (this.#running?.workers !== workers) return;
    const waitMs = this.#replacement.after(error);
    if (waitMs === undefined) return;
    this.#options.log.error({ err: error }, `${error.message}; others take the workers' place in ${waitMs / 1000} s`);
  }
}
