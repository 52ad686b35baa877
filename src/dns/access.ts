/** Who is answered, and how often: a resolver that answers anybody is used to flood others (RFC 5358). */
import { BlockList } from 'node:net';
import { parseCIDR } from '../net/cidr.ts';

export interface AccessOptions {
  /** Canonical CIDRs of clients that are answered. */
  readonly ranges: readonly string[];
  /** Questions of one client; 0 = no limit. */
  readonly perSecond: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** `refused`: gets an answer that says so; `silent`: gets none. */
export type Admission = 'admitted' | 'refused' | 'silent';

/** Clients that are remembered; the oldest are forgotten first, and begin anew. */
const MOST_CLIENTS = 8192;

interface Bucket {
  tokens: number;
  filledAtMs: number;
}

export class Access {
  readonly #options: AccessOptions;
  readonly #allowed = new BlockList();
  readonly #buckets = new Map<string, Bucket>();

  /** @throws TypeError for what is no CIDR */
  constructor(options: AccessOptions) {
    this.#options = options;
    for (const text of options.ranges) {
      const range = parseCIDR(text);
      if (range === undefined) throw new TypeError(`not a CIDR: ${text}`);
      this.#allowed.addSubnet(range.address, range.prefixLength, range.family === 'IPv4' ? 'ipv4' : 'ipv6');
    }
  }

  admit(address: string): Admission {
    const { perSecond, now } = this.#options;
    const known = this.#buckets.get(address);
    if (known === undefined && !this.#isAllowed(address)) return 'refused';
    const bucket = known ?? this.#newBucket(address);
    if (perSecond === 0) return 'admitted';
    const nowMs = now();
    bucket.tokens = Math.min(perSecond, bucket.tokens + ((nowMs - bucket.filledAtMs) * perSecond) / 1000);
    bucket.filledAtMs = nowMs;
    if (bucket.tokens < 1) return 'silent';
    bucket.tokens -= 1;
    return 'admitted';
  }

  #isAllowed(address: string): boolean {
    return this.#allowed.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
  }

  #newBucket(address: string): Bucket {
    if (this.#buckets.size >= MOST_CLIENTS) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    const bucket = { tokens: this.#options.perSecond, filledAtMs: this.#options.now() };
    this.#buckets.set(address, bucket);
    return bucket;
  }
}
