/** Who is answered, and how often: a resolver that answers anybody is used to flood others (RFC 5358). */
import { BlockList } from 'node:net';
import { parseCIDR } from '../net/cidr.ts';

export interface AccessOptions {
  /** Canonical CIDRs of clients that are answered. */
  readonly clients: readonly string[];
  /** Canonical CIDRs of those among them that have no limit. */
  readonly unlimited: readonly string[];
  /** Questions of one of the others, of which it may ask a second's at once; 0 = no limit. */
  readonly perSecond: number;
}

/** `refused`: gets an answer that says so; `silent`: asks too often, and gets none. */
export type Admission = 'admitted' | 'refused' | 'silent';

/** Clients that are remembered; the oldest are forgotten first, and begin anew. */
const MOST_CLIENTS = 8192;

interface Bucket {
  /** 0 = no limit. */
  readonly perSecond: number;
  tokens: number;
  filledAtMs: number;
}

export class Access {
  readonly #perSecond: number;
  readonly #allowed: BlockList;
  readonly #unlimited: BlockList;
  readonly #buckets = new Map<string, Bucket>();

  /** @throws TypeError for what is no CIDR */
  constructor({ clients, unlimited, perSecond }: AccessOptions) {
    this.#perSecond = perSecond;
    this.#allowed = rangesOf(clients);
    this.#unlimited = rangesOf(unlimited);
  }

  /** @param address as a socket tells it; `nowMs` monotonic */
  admit(address: string, nowMs: number): Admission {
    const bucket = this.#buckets.get(address) ?? this.#newBucket(address, nowMs);
    if (bucket === undefined) return 'refused';
    const { perSecond } = bucket;
    if (perSecond === 0) return 'admitted';
    bucket.tokens = Math.min(perSecond, bucket.tokens + ((nowMs - bucket.filledAtMs) * perSecond) / 1000);
    bucket.filledAtMs = nowMs;
    if (bucket.tokens < 1) return 'silent';
    bucket.tokens -= 1;
    return 'admitted';
  }

  /** Undefined for a client that isn't answered. Without a limit it only says that the client was looked up. */
  #newBucket(address: string, nowMs: number): Bucket | undefined {
    if (!isIn(this.#allowed, address)) return undefined;
    if (this.#buckets.size >= MOST_CLIENTS) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    const perSecond = isIn(this.#unlimited, address) ? 0 : this.#perSecond;
    const bucket = { perSecond, tokens: perSecond, filledAtMs: nowMs };
    this.#buckets.set(address, bucket);
    return bucket;
  }
}

function rangesOf(cidrs: readonly string[]): BlockList {
  const ranges = new BlockList();
  for (const text of cidrs) {
    const range = parseCIDR(text);
    if (range === undefined) throw new TypeError(`not a CIDR: ${text}`);
    ranges.addSubnet(range.address, range.prefixLength, range.family === 'IPv4' ? 'ipv4' : 'ipv6');
  }
  return ranges;
}

function isIn(ranges: BlockList, address: string): boolean {
  // A link-local address comes with its interface, which is no part of a range.
  const [plain = ''] = address.split('%');
  return ranges.check(plain, plain.includes(':') ? 'ipv6' : 'ipv4');
}
