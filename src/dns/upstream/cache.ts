/** Answers of upstream servers for as long as they say (RFC 1035 §7.4, RFC 2181 §5.2; negative ones RFC 2308), within a bound of memory. */
import { RCODE, TYPE } from '../records.ts';
import { type Message, readMessage, saneTtl } from '../wire/message.ts';

/** RFC 8767 §4, RFC 2308 §5: nobody should believe anything for longer. */
const LONGEST_S = 86_400;
const LONGEST_NEGATIVE_S = 3600;
/** RFC 9520 §3.2: failures for at least a second, and no longer than somebody waits who tries again. */
const FAILURE_S = 2;
/** RFC 8767 §5: an answer whose time is over is better than none, for so long, and then for 30 s. */
const STALE_S = 3600;
const STALE_TTL_S = 30;
/** RFC 8767 §5, the failure recheck timer. */
const RECHECK_S = 30;
/** Of an entry, beside its message and its key: objects, their places in the map. */
const OVERHEAD_BYTES = 400;

interface Entry {
  readonly bytes: Buffer;
  /** Where its TTLs are. */
  readonly ttls: readonly number[];
  readonly storedAtMs: number;
  readonly endsAtMs: number;
  readonly isFailure: boolean;
  /** Nobody had a newer one when it was asked for last, after its time. */
  failedAtMs: number;
}

export interface Cached {
  /** With what is left of its TTLs. */
  readonly bytes: Buffer;
  readonly ageMs: number;
}

export interface CacheOptions {
  readonly maxBytes: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** The least recently used answer goes first. */
export class AnswerCache {
  readonly #now: () => number;
  #maxBytes: number;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  hits = 0;
  misses = 0;
  evictions = 0;
  stale = 0;

  constructor({ maxBytes, now }: CacheOptions) {
    this.#maxBytes = maxBytes;
    this.#now = now;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes;
    this.#trim();
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  /** Undefined where there is none, or its time is over. */
  get(key: string): Cached | undefined {
    const cached = this.peek(key);
    if (cached === undefined) {
      this.misses += 1;
      return undefined;
    }
    const entry = this.#entries.get(key)!;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    this.hits += 1;
    return cached;
  }

  /** The same without a trace. */
  peek(key: string): Cached | undefined {
    const entry = this.#entries.get(key);
    const nowMs = this.#now();
    if (entry === undefined || entry.endsAtMs <= nowMs) return undefined;
    const ageMs = nowMs - entry.storedAtMs;
    const age = Math.floor(ageMs / 1000);
    return { bytes: withTtls(entry, ttl => Math.max(0, ttl - age)), ageMs };
  }

  /** An answer whose time is over, where nobody has a better one (RFC 8767). */
  getStale(key: string): Buffer | undefined {
    const entry = this.#staleEntry(key);
    if (entry === undefined) return undefined;
    this.stale += 1;
    return withTtls(entry, ttl => Math.min(ttl, STALE_TTL_S));
  }

  hasStale(key: string): boolean {
    return this.#staleEntry(key) !== undefined;
  }

  /** Nobody had an answer to this question. */
  noteFailure(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.failedAtMs = this.#now();
  }

  /** Whether that is so short a time ago that nobody has to wait for it again. */
  hasJustFailed(key: string): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.#now() - entry.failedAtMs < RECHECK_S * 1000;
  }

  #staleEntry(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    const isOver = entry === undefined || entry.isFailure || entry.endsAtMs + STALE_S * 1000 <= this.#now();
    return isOver ? undefined : entry;
  }

  /** Keeps an answer that says for how long; others aren't kept. A failure never takes the place of an answer. */
  set(key: string, bytes: Buffer): void {
    const message = readMessage(bytes);
    const seconds = message === undefined ? 0 : lifetimeOf(message, bytes);
    if (message === undefined || seconds === 0) return;
    const isFailure = message.rcode === RCODE.SERVFAIL;
    const before = this.#entries.get(key);
    if (isFailure && before?.isFailure === false) return;
    this.#delete(key, before);
    const nowMs = this.#now();
    const ttls = message.records.filter(({ type }) => type !== TYPE.OPT).map(({ ttlAt }) => ttlAt);
    // Memory of its own: a piece of Buffer's pool would keep all of that.
    const own = Buffer.allocUnsafeSlow(bytes.length);
    bytes.copy(own);
    const entry = {
      bytes: own,
      ttls,
      storedAtMs: nowMs,
      endsAtMs: nowMs + seconds * 1000,
      isFailure,
      failedAtMs: Number.NEGATIVE_INFINITY,
    };
    this.#entries.set(key, entry);
    this.#bytes += sizeOf(key, entry);
    this.#trim();
  }

  #trim(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) return;
      this.#delete(key, entry);
      this.evictions += 1;
    }
  }

  #delete(key: string, entry: Entry | undefined): void {
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= sizeOf(key, entry);
  }
}

function withTtls({ bytes, ttls }: Entry, change: (ttl: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  for (const at of ttls) copy.writeUInt32BE(change(saneTtl(copy.readUInt32BE(at))), at);
  return copy;
}

function sizeOf(key: string, { bytes, ttls }: Entry): number {
  return key.length + bytes.length + 8 * ttls.length + OVERHEAD_BYTES;
}

/** Seconds; 0 = not to be kept. */
function lifetimeOf({ rcode, records, isTruncated }: Message, bytes: Buffer): number {
  if (rcode === RCODE.SERVFAIL) return FAILURE_S;
  if (isTruncated || (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN)) return 0;
  const answers = records.filter(({ section }) => section === 'answer');
  const shortest = Math.min(...answers.map(({ ttl }) => saneTtl(ttl)), LONGEST_S);
  const hasData = rcode === RCODE.NOERROR && answers.some(({ type }) => type !== TYPE.CNAME && type !== TYPE.RRSIG);
  if (hasData) return shortest;
  const soa = records.find(({ section, type }) => section === 'authority' && type === TYPE.SOA);
  // RFC 2308 §5: without SOA a negative answer isn't kept. Its last field is the minimum.
  if (soa === undefined || soa.end - soa.dataAt < 22) return 0;
  return Math.min(shortest, saneTtl(soa.ttl), saneTtl(bytes.readUInt32BE(soa.end - 4)), LONGEST_NEGATIVE_S);
}
