import { ApiError, isExpired, isNotSupported, isProtocolError } from './api-error.ts';
import { Backoff } from './backoff.ts';
import { type Clock, pause } from './clock.ts';
import { InitialEvents, nameOf } from './initial-events.ts';
import { listAll, readVersion, streamEvents, type WatchEvent } from './list-watch.ts';
import type { Log } from './log.ts';
import type { ReflectorTarget, Resource } from './resource.ts';
import type { Transport } from './transport.ts';
import type { Trimmed } from './trim.ts';

export interface ReflectorOptions<T> {
  readonly resource: Resource<T>;
  readonly target: ReflectorTarget<T>;
  readonly transport: Transport;
  readonly clock: Clock;
  /** Numbers from 0 to below 1. */
  readonly random: () => number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface ReflectorStats {
  readonly isConnected: boolean;
  /** When the server was last heard of, in the clock's milliseconds; 0 = never. */
  readonly lastContactMs: number;
  /** Complete lists after the first. */
  readonly relists: number;
  /** Failed requests, broken and refused watches. */
  readonly failures: number;
  /** '' when the next thing is a list. */
  readonly resourceVersion: string;
}

const HEALTHY_MS = 60_000;
/** A watch that ends sooner counts as a failure, or a server that closes at once would be asked without end. */
const SHORTEST_WATCH_MS = 1000;
/** The server ends a watch a moment before or after its timeoutSeconds; later we do. */
const TIMEOUT_TOLERANCE_MS = 30_000;
const SHORTEST_TIMEOUT_SECONDS = 300;
/** How long WatchList isn't tried after a server refused or ignored it: it may be replaced by a newer one. */
const WATCH_LIST_PAUSE_MS = 30 * 60_000;
/** So many errors in a row for one resourceVersion: it is the version that the server cannot serve. */
const MOST_REFUSALS = 5;
/** Errors that say nothing about the resourceVersion: credentials, permissions, load. */
const UNRELATED_STATUS: ReadonlySet<number> = new Set([401, 403, 404, 429]);

/**
 * Keeps one collection of the API in a target, for as long as it lives: a complete list (WatchList where the server has it,
 * pages elsewhere), then a watch, resumed where it ended. What is known stays while the server is away.
 */
export class Reflector<T> implements AsyncDisposable {
  readonly #options: ReflectorOptions<T>;
  readonly #backoff: Backoff;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #running: Promise<void> | undefined;
  /** Everything up to it is in the target; undefined = list first. */
  #resourceVersion: string | undefined;
  /** The connection broke or ended early: whoever answers next may know less than we do. */
  #isVersionDoubtful = false;
  #watchListPauseEndMs = 0;
  #openedAtMs = 0;
  #timeoutMs = 0;
  #refusals = 0;
  #isCacheEnough = true;
  #lists = 0;
  #failures = 0;
  #lastContactMs = 0;
  #isConnected = false;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#backoff = new Backoff(options.random);
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
        if (await this.#watchList()) return undefined;
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
    if (lifetimeMs >= HEALTHY_MS) this.#backoff.reset();
    this.#isVersionDoubtful = lifetimeMs < this.#timeoutMs - TIMEOUT_TOLERANCE_MS;
    if (failure === undefined) return lifetimeMs < SHORTEST_WATCH_MS ? this.#backoff.next() : 0;
    this.#failures += 1;
    const { log, resource } = this.#options;
    if (isExpired(failure)) {
      this.#resourceVersion = undefined;
      log.info(
        { kind: resource.kind, err: failure },
        `${resource.kind}: the server forgot where we were; listing again`,
      );
      const delayMs = this.#backoff.next();
      return this.#backoff.failures === 1 ? 0 : delayMs;
    }
    if (this.#needsList(failure)) this.#resourceVersion = undefined;
    const isOurs = !(failure instanceof ApiError);
    const delayMs = Math.max(this.#backoff.next(), isOurs ? 0 : failure.retryAfterMs);
    const text = failure instanceof Error ? failure.message : String(failure);
    const next = this.#resourceVersion === undefined ? 'listing' : 'watching';
    log[isOurs ? 'error' : 'warn'](
      { kind: resource.kind, err: failure, delayMs },
      `${resource.kind}: ${text}; ${next} again in ${(delayMs / 1000).toFixed(1)} s`,
    );
    return delayMs;
  }

  #needsList(failure: unknown): boolean {
    if (!(failure instanceof ApiError) || isProtocolError(failure)) return true;
    if (failure.kind !== 'status' || UNRELATED_STATUS.has(failure.status)) return false;
    this.#refusals += 1;
    return this.#refusals >= MOST_REFUSALS;
  }

  /**
   * After a restore of etcd the server is behind us: a watch from our version would stay silent until it has caught up
   * (recorded: `watch from a future resourceVersion`). Versions are ordered integers (KEP-5504).
   */
  async #verifyVersion(): Promise<void> {
    const ours = this.#resourceVersion;
    if (ours === undefined) return;
    const { resource, transport, log } = this.#options;
    const theirs = await readVersion({ transport, path: resource.path, query: resource.query, signal: this.#signal });
    this.#heard();
    const isOrdered = /^\d+$/.test(ours) && /^\d+$/.test(theirs);
    if (!isOrdered || BigInt(theirs) >= BigInt(ours)) return;
    log.warn(
      { kind: resource.kind, ours, theirs },
      `${resource.kind}: the server is older than what we know; listing again`,
    );
    this.#resourceVersion = undefined;
  }

  /** The list as the beginning of the watch. Resolves to false when the server cannot do that: then pages are listed. */
  async #watchList(): Promise<boolean> {
    const { clock, resource, log } = this.#options;
    if (clock.now() < this.#watchListPauseEndMs) return false;
    const initial = new InitialEvents<T>(resource, clock);
    const query = { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' };
    const onEvents = (events: readonly WatchEvent[]) => {
      for (const event of events) {
        if (initial.isComplete) this.#apply(event);
        else if (initial.add(event)) this.#complete(initial.objects.values(), event.resourceVersion, 'WatchList');
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
    let list: Trimmed<T>[] = [];
    const resourceVersion = await listAll({
      transport,
      path: resource.path,
      query: resource.query,
      // The first list may come from the server's cache; after that it must not take us back.
      resourceVersion: this.#isCacheEnough ? '0' : '',
      onItems: items => {
        this.#heard();
        for (const raw of items) list.push(resource.trim(raw));
      },
      onRestart: () => {
        list = [];
      },
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

  /** Streams until the server ends the watch; ends it itself when the server forgets to. */
  async #stream(
    query: Record<string, string>,
    on: { onOpen: () => void; onEvents: (events: readonly WatchEvent[]) => void; signal: AbortSignal },
  ): Promise<void> {
    const { clock, random, resource, transport, log } = this.#options;
    const timeoutSeconds = Math.round(SHORTEST_TIMEOUT_SECONDS * (1 + random()));
    this.#timeoutMs = timeoutSeconds * 1000;
    const overdue = new AbortController();
    const cancel = clock.after(this.#timeoutMs + TIMEOUT_TOLERANCE_MS, () => overdue.abort());
    const onOpen = () => {
      this.#openedAtMs = clock.now();
      this.#isConnected = true;
      this.#heard();
      on.onOpen();
    };
    const onEvents = (events: readonly WatchEvent[]) => {
      this.#heard();
      this.#refusals = 0;
      on.onEvents(events);
    };
    try {
      const signal = AbortSignal.any([this.#signal, on.signal, overdue.signal]);
      const full = { ...resource.query, ...query, timeoutSeconds: String(timeoutSeconds) };
      const cutOff = await streamEvents({ transport, path: resource.path, query: full, onOpen, onEvents, signal });
      if (cutOff > 0) log.warn({ kind: resource.kind, bytes: cutOff }, `${resource.kind}: the last event was cut off`);
    } catch (error) {
      if (!overdue.signal.aborted) throw error;
    } finally {
      cancel();
    }
  }

  #heard(): void {
    this.#lastContactMs = this.#options.clock.now();
  }

  #complete(list: Iterable<Trimmed<T>>, resourceVersion: string, how: string): void {
    const { resource, target, log } = this.#options;
    target.replace(list);
    this.#resourceVersion = resourceVersion;
    this.#refusals = 0;
    this.#isCacheEnough = false;
    this.#lists += 1;
    log.info({ kind: resource.kind, resourceVersion }, `${resource.kind}: complete list by ${how}`);
  }

  #apply(event: WatchEvent): void {
    const { resource, target } = this.#options;
    if (event.type === 'DELETED') target.remove(nameOf(resource, event));
    else if (event.type !== 'BOOKMARK') target.accept(resource.trim(event.object));
    this.#resourceVersion = event.resourceVersion;
  }
}
