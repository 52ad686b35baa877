/**
 * Replies that stay right until something that they are about changes. Their bytes are in one ring of memory; the oldest goes first, however large the
 * others are, and none goes by time. What memory it takes is bounded: the ring, and an object for each reply.
 */
import { type Place, Reply } from './reply.ts';
import type { Encoded } from './wire/response.ts';
import type { DnsService } from './zone/dns-service.ts';

/** One reply may not take more of the ring than that. */
const LARGEST_SHARE = 1 / 8;

/** Whose change makes a reply void: a Service as it is, or an address. */
export type Subject = DnsService | string;

interface About {
  /** The question. */
  readonly key: string;
  readonly subject: Subject;
  /** Monotonic. */
  readonly nowMs: number;
}

/** A reply in the ring. */
export class KeptReply extends Reply {
  readonly key: string;
  readonly subject: Subject;
  /** Monotonic. */
  readonly keptAtMs: number;
  /** The reply about the same that was kept before. */
  previous: KeptReply | undefined;

  constructor(encoded: Encoded, from: number, { place, about }: { readonly place: Place; readonly about: About }) {
    super(encoded, from, place);
    this.key = about.key;
    this.subject = about.subject;
    this.keptAtMs = Math.floor(about.nowMs);
    this.previous = undefined;
  }
}

export interface KeptLimits {
  readonly ringBytes: number;
  /** Of some 250 bytes each. */
  readonly mostReplies: number;
}

export class KeptReplies {
  readonly #ring: Buffer;
  readonly #mostReplies: number;
  /** Where the next one is put. The oldest is the first behind it, and the first in the map. */
  #head = 0;
  readonly #replies = new Map<string, KeptReply>();
  /** The last reply about a subject. */
  readonly #last = new Map<Subject, KeptReply>();
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
    const reply = new KeptReply(encoded, from, { place: { source: this.#ring, at }, about });
    reply.previous = this.#last.get(about.subject);
    this.#last.set(about.subject, reply);
    this.#replies.set(about.key, reply);
  }

  forget(subject: Subject): void {
    for (let reply = this.#last.get(subject); reply !== undefined; reply = reply.previous) {
      if (this.#replies.get(reply.key) === reply) this.#replies.delete(reply.key);
    }
    this.#last.delete(subject);
  }

  clear(): void {
    this.#replies.clear();
    this.#last.clear();
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
    for (const reply of this.#replies.values()) {
      if (left === 0 || reply.at < from || reply.at >= to) return;
      this.#evict(reply);
      left -= 1;
    }
  }

  /** What was kept before it about the same is gone already: the chain ends here, and with the next one that goes this reply is let go of. */
  #evict(reply: KeptReply): void {
    this.#replies.delete(reply.key);
    this.evictions += 1;
    reply.previous = undefined;
    if (this.#last.get(reply.subject) === reply) this.#last.delete(reply.subject);
  }
}
