/**
 * Replies that stay right until something that they are about changes. Their bytes are in one ring of memory; the oldest goes first, however large the
 * others are, and none goes by time. What memory it takes is bounded: the ring, and an object for each reply.
 */
import { Reply } from './reply.ts';
import type { Encoded } from './wire/response.ts';

/** One reply may not take more of the ring than that. */
const LARGEST_SHARE = 1 / 8;

interface About {
  /** The question. */
  readonly key: string;
  /** Whose change makes the reply void: `namespace/name` of a Service, or an address. */
  readonly subject: string;
  readonly nowMs: number;
}

/** A reply in the ring. */
export class KeptReply extends Reply {
  readonly about: About;

  constructor(
    encoded: Encoded,
    from: number,
    { place, about }: { place: { source: Buffer; at: number }; about: About },
  ) {
    super(encoded, from, place);
    this.about = about;
  }
}

export interface KeptLimits {
  readonly ringBytes: number;
  /** Of 300 bytes each. */
  readonly mostReplies: number;
}

export class KeptReplies {
  readonly #ring: Buffer;
  readonly #mostReplies: number;
  /** Where the next one is put. The oldest is the first behind it, and the first in the map. */
  #head = 0;
  readonly #replies = new Map<string, KeptReply>();
  readonly #keys = new Map<string, string[]>();
  /** Replies that had to go for others. */
  evictions = 0;

  constructor({ ringBytes, mostReplies }: KeptLimits) {
    // Pages that nobody wrote to take no memory.
    this.#ring = Buffer.alloc(ringBytes);
    this.#mostReplies = mostReplies;
  }

  get size(): number {
    return this.#replies.size;
  }

  get(key: string): KeptReply | undefined {
    return this.#replies.get(key);
  }

  /** The question has no kept reply yet. @param from see Reply */
  keep(encoded: Encoded, from: number, about: About): void {
    const { length } = encoded.bytes;
    if (length > this.#ring.length * LARGEST_SHARE) return;
    const at = this.#room(length);
    encoded.bytes.copy(this.#ring, at);
    this.#head = at + length;
    this.#replies.set(about.key, new KeptReply(encoded, from, { place: { source: this.#ring, at }, about }));
    const keys = this.#keys.get(about.subject);
    if (keys === undefined) this.#keys.set(about.subject, [about.key]);
    else keys.push(about.key);
  }

  forget(subject: string): void {
    const keys = this.#keys.get(subject);
    if (keys === undefined) return;
    for (const key of keys) this.#replies.delete(key);
    this.#keys.delete(subject);
  }

  clear(): void {
    this.#replies.clear();
    this.#keys.clear();
  }

  /** Where so many bytes are free. */
  #room(length: number): number {
    if (this.#replies.size >= this.#mostReplies) this.#evictBetween(0, this.#ring.length, 1);
    if (this.#head + length > this.#ring.length) {
      this.#evictBetween(this.#head, this.#ring.length);
      this.#head = 0;
    }
    this.#evictBetween(this.#head, this.#head + length);
    return this.#head;
  }

  /** The oldest replies, as long as they begin there. */
  #evictBetween(from: number, to: number, most = Number.POSITIVE_INFINITY): void {
    let left = most;
    for (const { at, about } of this.#replies.values()) {
      if (left === 0 || at < from || at >= to) return;
      this.#evict(about);
      left -= 1;
    }
  }

  #evict({ key, subject }: About): void {
    this.#replies.delete(key);
    this.evictions += 1;
    const keys = this.#keys.get(subject);
    // Keys stand in the order in which they were kept.
    keys?.splice(keys.indexOf(key), 1);
    if (keys?.length === 0) this.#keys.delete(subject);
  }
}
