/** Answers of upstream servers for as long as they say (RFC 1035 §7.4, RFC 2181 §5.2; negative ones RFC 2308), within a bound of memory. */
import { RCODE, TYPE } from '../records.ts';
import { type Message, readMessage } from '../wire/message.ts';

/** RFC 2308 §5, RFC 8767 §4: nobody should believe anything for longer. */
const LONGEST_S = 86_400;
const LONGEST_NEGATIVE_S = 3600;
/** Of an entry, beside its message. */
const OVERHEAD_BYTES = 300;

interface Entry {
  readonly bytes: Buffer;
  /** Where its TTLs are. */
  readonly ttls: readonly number[];
  readonly storedAtMs: number;
  readonly endsAtMs: number;
}

export interface CacheOptions {
  readonly maxBytes: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** The least recently used answer goes first. */
export class AnswerCache {
  readonly #options: CacheOptions;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The answer with what is left of its TTLs; undefined where there is none any more. */
  get(key: string): Buffer | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const nowMs = this.#options.now();
    this.#entries.delete(key);
    if (entry.endsAtMs <= nowMs) {
      this.#bytes -= sizeOf(entry);
      return undefined;
    }
    this.#entries.set(key, entry);
    const age = Math.floor((nowMs - entry.storedAtMs) / 1000);
    const bytes = Buffer.from(entry.bytes);
    for (const at of entry.ttls) bytes.writeUInt32BE(Math.max(0, bytes.readUInt32BE(at) - age), at);
    return bytes;
  }

  /** Keeps an answer that says for how long; others aren't kept. */
  set(key: string, bytes: Buffer): void {
    const message = readMessage(bytes);
    const seconds = message === undefined ? 0 : lifetimeOf(message, bytes);
    if (message === undefined || seconds === 0) return;
    const nowMs = this.#options.now();
    const ttls = message.records.filter(({ type }) => type !== TYPE.OPT).map(({ ttlAt }) => ttlAt);
    const before = this.#entries.get(key);
    if (before !== undefined) this.#bytes -= sizeOf(before);
    this.#entries.delete(key);
    const entry = { bytes: Buffer.from(bytes), ttls, storedAtMs: nowMs, endsAtMs: nowMs + seconds * 1000 };
    this.#entries.set(key, entry);
    this.#bytes += sizeOf(entry);
    this.#trim();
  }

  #trim(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#bytes <= this.#options.maxBytes) return;
      this.#entries.delete(key);
      this.#bytes -= sizeOf(entry);
    }
  }
}

function sizeOf({ bytes }: Entry): number {
  return bytes.length + OVERHEAD_BYTES;
}

/** Seconds; 0 = not to be kept. */
function lifetimeOf({ rcode, records }: Message, bytes: Buffer): number {
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return 0;
  const answers = records.filter(({ section }) => section === 'answer');
  const shortest = Math.min(...answers.map(({ ttl }) => ttlOf(ttl)), LONGEST_S);
  const hasData = rcode === RCODE.NOERROR && answers.some(({ type }) => type !== TYPE.CNAME);
  if (hasData) return shortest;
  const soa = records.find(({ section, type }) => section === 'authority' && type === TYPE.SOA);
  // RFC 2308 §5: without SOA a negative answer isn't kept. Its last field is the minimum.
  if (soa === undefined || soa.end - soa.dataAt < 22) return 0;
  return Math.min(shortest, ttlOf(soa.ttl), ttlOf(bytes.readUInt32BE(soa.end - 4)), LONGEST_NEGATIVE_S);
}

/** RFC 2181 §8: one with the highest bit set is 0. */
function ttlOf(ttl: number): number {
  return ttl > 0x7fffffff ? 0 : ttl;
}
