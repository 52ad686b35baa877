import { ApiError, isExpired, isNotSupported } from './api-error.ts';
import { type Clock, pause } from './clock.ts';
import { CompleteList, HeldVersions } from './complete-list.ts';
import { InitialEvents, nameOf } from './initial-events.ts';
import { hasEventsAfter, listAll, readVersion, streamEvents, type WatchEvent } from './list-watch.ts';
import type { Log } from './log.ts';
import type { ReflectorStats } from './reflector-stats.ts';
import type { ReflectorTarget, Resource } from './resource.ts';
import { isOlder } from './resource-version.ts';
import { RetryPolicy } from './retry-policy.ts';
import type { Contact } from './server-contact.ts';
import type { Transport } from './transport.ts';
import { WatchGuard } from './watch-guard.ts';

export interface ReflectorOptions<T> {
  readonly resource: Resource<T>;
  readonly target: ReflectorTarget<T>;
  readonly transport: Transport;
  /** Hears of every failure and of what works again; shared by all reflectors of a server. */
  readonly contact: Contact;
  readonly clock: Clock;
  /** Numbers from 0 to below 1. */
  readonly random: () => number;
  readonly log: Log;
  /** Called before each complete list; may abort the reflector's signal. */
  readonly beforeList?: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

/** A watch that ends sooner counts as a failure, or a server that closes at once would be asked without end. */
const SHORTEST_WATCH_MS = 1000;
/** The server ends a watch a moment before or after its timeoutSeconds; later we do. */
const TIMEOUT_TOLERANCE_MS = 30_000;
const SHORTEST_TIMEOUT_SECONDS = 300;
/** How long WatchList isn't tried after a server refused or ignored it: it may be replaced by a newer one. */
const WATCH_LIST_PAUSE_MS = 30 * 60_000;
/**
 * Keeps one collection of the API in a target, for as long as it lives: a complete list (WatchList where the server has it,
 * pages elsewhere), then a watch, resumed where it ended. What is known stays while the server is away.
 */
export class Reflector<T> implements AsyncDisposable {
  readonly #options: ReflectorOptions<T>;
  readonly #policy: RetryPolicy;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #running: Promise<void> | undefined;
  /** Everything up to it is in the target; undefined = list first. */
  #resourceVersion: string | undefined;
  /** The newest version that was ever reached. */
  #newestVersion = '';
  #held = new HeldVersions();
  /** The connection broke or ended early: whoever answers next may know less than we do. */
  #isVersionDoubtful = false;
  #watchListPauseEndMs = 0;
  #openedAtMs = 0;
  #timeoutMs = 0;
  #isCacheEnough = true;
  #lists = 0;
  #failures = 0;
  #lastContactMs = 0;
  #isConnected = false;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#policy = new RetryPolicy(options.clock, options.random);
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  get stats(): ReflectorStats {
    return {
      isConnected: this.#isConnected,
      lastContactMs: this.#lastContactMs,
      relists: Math.max(0, this.#lists - 1),
      failures: this.#failures,
      resourceVersion: this.#resourceVersion ?? '',
    };
  }

  /** Starts once; runs until the signal is aborted or the reflector is disposed of. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends the watch; resolves when nothing runs any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#signal.aborted) {
      this.#openedAtMs = clock.now();
      const failure = await this.#attempt();
      this.#isConnected = false;
      if (this.#signal.aborted) return;
      await pause(clock, this.#delayAfter(failure, clock.now() - this.#openedAtMs), this.#signal);
    }
  }

  /** One list (where needed) and one watch; resolves to what ended it, undefined when the server did in order. */
  async #attempt(): Promise<unknown> {
    try {
      if (this.#isVersionDoubtful) await this.#verifyVersion();
      if (this.#resourceVersion === undefined) {
        await this.#options.beforeList?.(this.#signal);
        if (this.#signal.aborted || (await this.#watchList())) return undefined;
        await this.#list();
      }
      await this.#watch();
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Milliseconds to wait after an attempt, and what to do otherwise next time. */
  #delayAfter(failure: unknown, lifetimeMs: number): number {
    this.#isVersionDoubtful = lifetimeMs < this.#timeoutMs - TIMEOUT_TOLERANCE_MS;
    if (failure === undefined && lifetimeMs >= SHORTEST_WATCH_MS) return 0;
    const err = failure ?? new ApiError('connection', 'the server ends the watch at once');
    const { contact, log, resource } = this.#options;
    const { kind } = resource;
    const { delayMs, needsList } = this.#policy.judge(err);
    this.#failures += 1;
    if (needsList) this.#resourceVersion = undefined;
    if (isExpired(err) && delayMs === 0)
      log.info({ kind, err, delayMs }, `${kind}: the server forgot where we were; listing again`);
    else {
      const message = err instanceof Error ? err.message : String(err);
      contact.failed(kind, { message, err, delayMs, isOurs: !(err instanceof ApiError) });
    }
    return delayMs;
  }

  /**
   * After a restore of etcd the server is behind us: a watch from our version would stay silent until it has caught up
   * (recorded: `watch from a future resourceVersion`). One that has overtaken us by then looks as if it only went on (hence
   * etcdutl's --bump-revision).
   */
  async #verifyVersion(): Promise<void> {
    const ours = this.#resourceVersion;
    if (ours === undefined) return;
    const { resource, transport } = this.#options;
    const theirs = await readVersion({ ...resource, transport, signal: this.#signal });
    this.#heard();
    if (!isOlder(theirs, ours)) return;
    this.#forgetVersions(theirs);
    this.#resourceVersion = undefined;
  }

  /** The server was restored from a backup: its versions up to ours may stand for other objects than we know. */
  #forgetVersions(theirs: string): void {
    const { log, resource } = this.#options;
    const ours = this.#newestVersion;
    log.warn(
      { kind: resource.kind, ours, theirs },
      `${resource.kind}: the server is older than what we know; listing again`,
    );
    this.#held.clear();
    this.#newestVersion = '';
  }

  /** The list as the beginning of the watch. Resolves to false when the server cannot do that: then pages are listed. */
  async #watchList(): Promise<boolean> {
    const { clock, resource, log } = this.#options;
    if (clock.now() < this.#watchListPauseEndMs) return false;
    const list = new CompleteList(resource, this.#held);
    const initial = new InitialEvents(resource, list, clock);
    const query = { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' };
    const onEvents = (events: readonly WatchEvent[]) => {
      for (const event of events) {
        if (initial.isComplete) this.#apply(event);
        else if (initial.add(event)) this.#complete(list, event.resourceVersion, 'WatchList');
      }
    };
    try {
      await this.#stream(query, { onOpen: () => initial.begin(), onEvents, signal: initial.signal });
    } catch (error) {
      if (initial.isComplete || !(initial.signal.aborted || isNotSupported(error))) throw error;
    } finally {
      initial[Symbol.dispose]();
    }
    if (initial.isComplete) return true;
    this.#watchListPauseEndMs = clock.now() + WATCH_LIST_PAUSE_MS;
    log.info({ kind: resource.kind }, `${resource.kind}: the server has no WatchList; listing in pages`);
    return false;
  }

  async #list(): Promise<void> {
    const { resource, transport } = this.#options;
    const { path, query } = resource;
    const list = new CompleteList(resource, this.#held);
    const resourceVersion = await listAll({
      transport,
      path,
      query,
      // The first list may come from the server's cache; after that it must not take us back.
      resourceVersion: this.#isCacheEnough ? '0' : '',
      onItem: raw => {
        this.#heard();
        list.add(raw);
      },
      onRestart: () => list.restart(),
      signal: this.#signal,
    });
    this.#complete(list, resourceVersion, 'pages');
  }

  async #watch(): Promise<void> {
    const query = { resourceVersion: this.#resourceVersion ?? '' };
    const onEvents = (events: readonly WatchEvent[]) => {
      for (const event of events) this.#apply(event);
    };
    await this.#stream(query, { onOpen: () => undefined, onEvents, signal: this.#signal });
  }

  /** Streams until the server ends the watch; ends it itself when the server forgets to, or tells nothing any more. */
  async #stream(
    query: Record<string, string>,
    on: { onOpen: () => void; onEvents: (events: readonly WatchEvent[]) => void; signal: AbortSignal },
  ): Promise<void> {
    const { clock, random, resource, transport, log } = this.#options;
    const timeoutSeconds = Math.round(SHORTEST_TIMEOUT_SECONDS * (1 + random()));
    this.#timeoutMs = timeoutSeconds * 1000;
    const overdue = new AbortController();
    const cancel = clock.after(this.#timeoutMs + TIMEOUT_TOLERANCE_MS, () => overdue.abort());
    const hasMissed = (signal: AbortSignal) => this.#hasMissed(signal);
    using guard = new WatchGuard({ clock, random, hasMissed });
    const onOpen = () => {
      this.#openedAtMs = clock.now();
      this.#isConnected = true;
      guard.begin();
      on.onOpen();
    };
    const onEvents = (events: readonly WatchEvent[]) => {
      guard.touch();
      on.onEvents(events);
      this.#heard();
      this.#policy.delivered();
    };
    try {
      const signal = AbortSignal.any([this.#signal, on.signal, overdue.signal, guard.signal]);
      const full = { ...resource.query, ...query, timeoutSeconds: String(timeoutSeconds) };
      const cutOff = await streamEvents({ transport, path: resource.path, query: full, onOpen, onEvents, signal });
      if (cutOff > 0) log.warn({ kind: resource.kind, bytes: cutOff }, `${resource.kind}: the last event was cut off`);
    } catch (error) {
      if (overdue.signal.aborted) return;
      throw guard.signal.aborted ? guard.signal.reason : error;
    } finally {
      cancel();
    }
  }

  /** Before a WatchList is complete there is no version to ask from, but then it has deadlines of its own. */
  async #hasMissed(signal: AbortSignal): Promise<boolean> {
    const { resource, transport } = this.#options;
    if (this.#resourceVersion === undefined) return false;
    return hasEventsAfter(this.#resourceVersion, { ...resource, transport, signal });
  }

  #heard(): void {
    this.#lastContactMs = this.#options.clock.now();
    this.#options.contact.heard(this.#options.resource.kind);
  }

  #complete(list: CompleteList<T>, resourceVersion: string, how: string): void {
    const { resource, target, log } = this.#options;
    const { unchanged } = list;
    if (unchanged > 0 && isOlder(resourceVersion, this.#newestVersion)) {
      this.#forgetVersions(resourceVersion);
      throw new ApiError('protocol', 'a list that is older than what is known');
    }
    target.replace(list.takeEntries());
    this.#held = list.versions;
    this.#reach(resourceVersion);
    this.#isCacheEnough = false;
    this.#lists += 1;
    this.#policy.delivered();
    log.info({ kind: resource.kind, resourceVersion, unchanged }, `${resource.kind}: complete list by ${how}`);
  }

  #apply(event: WatchEvent): void {
    const { resource, target } = this.#options;
    if (event.type === 'DELETED') {
      const key = nameOf(resource, event);
      target.remove(key);
      this.#held.forget(key);
    } else if (event.type !== 'BOOKMARK') {
      target.accept(resource.trim(event.object));
      this.#held.note(event.object);
    }
    this.#reach(event.resourceVersion);
  }

  #reach(resourceVersion: string): void {
    this.#resourceVersion = resourceVersion;
    this.#newestVersion = resourceVersion;
  }
}
