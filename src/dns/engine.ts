/**
 * The DNS server without its sockets: what is known of the cluster, and the answer to each message. It lives in a worker thread, which hands it messages
 * and changes; of its own it has only the sockets to upstream servers.
 */
import { Access } from './access.ts';
import { Answers } from './answers.ts';
import { Counters } from './counters.ts';
import { type Explanation, explain, serverText } from './explain.ts';
import { copyOf } from './histogram.ts';
import type { EngineReadings, UpstreamReadings } from './readings.ts';
import { RCODE } from './records.ts';
import { refuse } from './reply.ts';
import { Resolver } from './resolver.ts';
import type { DnsSettings, UpstreamServer } from './settings.ts';
import { rcodeName } from './types.ts';
import { AnswerCache } from './upstream/cache.ts';
import { Forwarder } from './upstream/forwarder.ts';
import { type Query, readQuery } from './wire/query.ts';
import { Cluster } from './zone/cluster.ts';
import type { DnsService } from './zone/dns-service.ts';
import { Zone } from './zone/zone.ts';

/** Of answers that wait for nobody, the time of one in so many is measured: the clock would cost more than some of them. */
const SAMPLED = 64;

/**
 * One client may wait for as many answers of upstream servers as there are questions that may still be asked, divided by this: those that ask for names whose servers
 * are gone mustn't stop the others', however many they are.
 */
const CLIENT_SHARE = 2;

interface Asked {
  readonly isTcp: boolean;
  readonly startedAtMs: number;
  readonly client: string;
}

/** What is different in the cluster; plain data. Each says how things are now, so that the last one of an object counts. */
export type DnsChange =
  /** `service` undefined = it is gone. */
  | {
      readonly kind: 'service';
      readonly namespace: string;
      readonly name: string;
      readonly service: DnsService | undefined;
    }
  | { readonly kind: 'namespace'; readonly name: string; readonly exists: boolean }
  /** Addresses that pods of the namespace have now, and those that none of them has any more. Only used with `pods: verified`. */
  | {
      readonly kind: 'pods';
      readonly namespace: string;
      readonly added: readonly string[];
      readonly removed: readonly string[];
    };

export interface EngineOptions {
  readonly settings: DnsSettings;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  /** Lower-case letters and digits, 63 at most, that all workers of the process share and nobody else has: by it an upstream server that leads to ourselves is found out. */
  readonly instance: string;
  /** An upstream server stopped answering, or asks us. */
  readonly onUpstreamFailure: (server: UpstreamServer, error: Error) => void;
  /** An error of ours: the client got SERVFAIL. */
  readonly onFault: (error: unknown) => void;
}

export interface Client {
  readonly address: string;
  readonly port: number;
}

export class Engine {
  readonly #options: EngineOptions;
  #settings: DnsSettings;
  readonly #cluster = new Cluster();
  readonly #counters = new Counters();
  readonly #answers: Answers;
  readonly #cache: AnswerCache;
  readonly #forwarder: Forwarder;
  readonly #resolver: Resolver;
  #access: Access;
  #untilSample = SAMPLED;
  /** By client: its questions that wait for upstream servers. */
  readonly #waiting = new Map<string, number>();

  /** @throws TypeError for a client range that is none, RangeError for a zone that is no name */
  constructor(options: EngineOptions) {
    const { settings, now, instance, onUpstreamFailure } = options;
    this.#options = options;
    this.#settings = settings;
    this.#touch();
    const cluster = this.#cluster;
    this.#access = new Access(settings);
    this.#cache = new AnswerCache({ maxBytes: settings.cacheBytes, now });
    this.#forwarder = new Forwarder({
      ...{ servers: settings.upstreams, maxConcurrent: settings.maxConcurrent, now, instance },
      onAnswer: (key, bytes) => this.#cache.set(key, bytes),
      onFailure: onUpstreamFailure,
    });
    this.#answers = new Answers({ ...this.#zonesOf(settings), cluster, now });
    const parts = { answers: this.#answers, cache: this.#cache, forwarder: this.#forwarder, cluster };
    this.#resolver = new Resolver({ ...parts, instance });
  }

  /** Other settings, at once; what is known of the cluster stays, and upstream servers' answers as long as the servers are the same. @throws as the constructor, and then nothing is changed */
  configure(settings: DnsSettings): void {
    const [access, zones] = [new Access(settings), this.#zonesOf(settings)];
    this.#access = access;
    this.#settings = settings;
    this.#touch();
    this.#answers.replace(zones);
    const { upstreams: servers, maxConcurrent } = settings;
    if (this.#forwarder.configure({ servers, maxConcurrent })) this.#cache.clear();
    this.#cache.resize(settings.cacheBytes);
  }

  /** What changed, in any order of objects. */
  apply(changes: readonly DnsChange[]): void {
    if (changes.length > 0) this.#touch();
    for (const change of changes) {
      switch (change.kind) {
        case 'service':
          this.#setService(change.namespace, change.name, change.service);
          break;
        case 'namespace':
          this.#cluster.setNamespace(change.name, change.exists);
          for (const service of this.#cluster.servicesIn(change.name)) this.#answers.forget(service);
          break;
        case 'pods':
          this.#cluster.setPods(change.namespace, change.added, change.removed);
      }
    }
  }

  /** Everything that there was at the beginning has been applied: from now on what isn't known doesn't exist. */
  setSynced(): void {
    this.#cluster.isSynced = true;
    this.#touch();
  }

  /** Undefined = no answer. Late where somebody else has to be asked. Never throws or rejects. */
  respond(message: Buffer, client: Client, isTcp: boolean): Buffer | Promise<Buffer | undefined> | undefined {
    const startedAtMs = this.#options.now();
    const admission = this.#access.admit(client.address, startedAtMs);
    if (admission === 'silent') this.#counters.rateLimited += 1;
    // By UDP the sender may be somebody else, who didn't ask.
    if (admission === 'silent' && !isTcp) return undefined;
    const query = readQuery(message);
    if (query === undefined) {
      this.#counters.malformed += 1;
      return undefined;
    }
    this.#counters.asked(query, message.length, { isTcp, isIPv6: client.address.includes(':') });
    if (admission !== 'admitted') {
      if (admission === 'refused') this.#counters.refused += 1;
      return this.#counted(refuse(message, query, RCODE.REFUSED), query, isTcp);
    }
    return this.#answer(message, query, { isTcp, startedAtMs, client: client.address });
  }

  /** As a client that is answered would get it, and why. @param name in any case; rejects with a RangeError for what is none */
  explain(name: string, type: number): Promise<Explanation> {
    const [cluster, answers, resolver] = [this.#cluster, this.#answers, this.#resolver];
    const others = { cache: this.#cache, forwarder: this.#forwarder, now: this.#options.now };
    return explain({ cluster, answers, resolver, ...others }, name, type);
  }

  readings(): EngineReadings {
    const { kept, hits } = this.#answers;
    const { size: entries, bytes, hits: cacheHits, misses, evictions, stale } = this.#cache;
    const { pending, rejected } = this.#forwarder;
    return {
      ...this.#counters.readings(),
      workers: 1,
      synced: this.#cluster.isSynced ? 1 : 0,
      kept: { entries: kept.size, hits, evictions: kept.evictions },
      cache: { entries, bytes, hits: cacheHits, misses, evictions, stale },
      forward: { pending, rejected },
      upstreams: this.#upstreamReadings(),
    };
  }

  #answer(message: Buffer, query: Query, { isTcp, startedAtMs, client }: Asked): Buffer | Promise<Buffer> {
    try {
      const waiting = this.#waiting.size === 0 ? 0 : (this.#waiting.get(client) ?? 0);
      const free = this.#settings.maxConcurrent - this.#forwarder.pending;
      const mayAsk = waiting < Math.max(1, free / CLIENT_SHARE);
      const answer = this.#resolver.answer(message, query, { isTcp, mayAsk });
      if (!(answer instanceof Promise)) {
        this.#sample(startedAtMs);
        return this.#counted(answer, query, isTcp);
      }
      this.#waiting.set(client, waiting + 1);
      return answer
        .catch((error: unknown) => this.#fault(message, query, error))
        .then(late => {
          this.#hasWaited(client);
          this.#counters.observe(this.#options.now() - startedAtMs, 1);
          return this.#counted(late, query, isTcp);
        });
    } catch (error) {
      return this.#counted(this.#fault(message, query, error), query, isTcp);
    }
  }

  #hasWaited(client: string): void {
    const left = (this.#waiting.get(client) ?? 1) - 1;
    if (left === 0) this.#waiting.delete(client);
    else this.#waiting.set(client, left);
  }

  #sample(startedAtMs: number): void {
    this.#untilSample -= 1;
    if (this.#untilSample > 0) return;
    this.#untilSample = SAMPLED;
    this.#counters.observe(this.#options.now() - startedAtMs, SAMPLED);
  }

  #counted(answer: Buffer, query: Query, isTcp: boolean): Buffer {
    this.#counters.answered(answer, query, isTcp);
    return answer;
  }

  #fault(message: Buffer, query: Query, error: unknown): Buffer {
    this.#counters.faults += 1;
    this.#options.onFault(error);
    return refuse(message, query, RCODE.SERVFAIL);
  }

  #setService(namespace: string, name: string, service: DnsService | undefined): void {
    const before = this.#cluster.service(namespace, name);
    if (before !== undefined) this.#answers.forget(before);
    this.#cluster.set(namespace, name, service);
    const after = this.#cluster.service(namespace, name);
    if (after !== undefined) this.#answers.forget(after);
  }

  #touch(): void {
    this.#cluster.changedAt = Math.floor(this.#options.wallClock() / 1000);
  }

  #zonesOf(settings: DnsSettings) {
    const zones = settings.zones.map(name => new Zone(name, settings, this.#cluster));
    return { zones, hasUpstreams: settings.upstreams.length > 0 };
  }

  #upstreamReadings(): Record<string, UpstreamReadings> {
    const entries = this.#forwarder.servers.map(state => {
      const { server, requests, failures, inFlight, isFailing, isLoop, responses, duration } = state;
      const rcodes = [...responses].map(([rcode, count]) => [rcodeName(rcode), count]);
      const health = { healthy: isFailing || isLoop ? 0 : 1, loops: isLoop ? 1 : 0 };
      const counts = { requests, failures, inFlight, ...health };
      return [serverText(server), { ...counts, responses: Object.fromEntries(rcodes), duration: copyOf(duration) }];
    });
    return Object.fromEntries(entries);
  }
}
