/** What workers counted, as plain data that can be sent and added up. Pure. */
import type { QueryReadings } from './counters.ts';
import type { Histogram } from './histogram.ts';
import type { SocketCounts } from './server/udp.ts';

export interface UpstreamReadings {
  readonly requests: number;
  /** Without an answer that can be used. */
  readonly failures: number;
  readonly inFlight: number;
  /** Workers to which it answered the last time that it was asked, or that haven't asked it yet; those to which it leads to ourselves. */
  readonly healthy: number;
  readonly loops: number;
  /** By the rcode's name. */
  readonly responses: Readonly<Record<string, number>>;
  /** Seconds. */
  readonly duration: Histogram;
}

/** Of a worker. */
export interface DnsReadings extends EngineReadings {
  readonly sockets: Readonly<SocketCounts>;
}

export interface EngineReadings extends QueryReadings {
  readonly workers: number;
  /** Workers that know the cluster. */
  readonly synced: number;
  /** Replies about our zones that are kept, and how often one was used. */
  readonly kept: { readonly entries: number; readonly hits: number; readonly evictions: number };
  /** Upstream servers' answers. */
  readonly cache: {
    readonly entries: number;
    readonly bytes: number;
    readonly hits: number;
    readonly misses: number;
    readonly evictions: number;
    /** Answers that were given though their time was over. */
    readonly stale: number;
  };
  /** Questions to upstream servers under way, and those that were turned away because there were too many. */
  readonly forward: { readonly pending: number; readonly rejected: number };
  /** By `address:port`, IPv6 in brackets. */
  readonly upstreams: Readonly<Record<string, UpstreamReadings>>;
}

/** Of all workers together; undefined where there are none. */
export function sumReadings<T extends EngineReadings>(all: readonly T[]): T | undefined {
  const [first, ...others] = all;
  return others.reduce<unknown>((sum, next) => added(sum, next), first) as T | undefined;
}

/** Numbers are added, field by field, and what only one of them has is taken over; bounds of histograms are the same in all. */
function added(one: unknown, other: unknown): unknown {
  if (typeof one === 'number' && typeof other === 'number') return one + other;
  if (Array.isArray(one) && Array.isArray(other)) return one.map((value, i) => added(value, other[i]));
  if (!isRecord(one) || !isRecord(other)) return one ?? other;
  const names = [...new Set([...Object.keys(one), ...Object.keys(other)])];
  return Object.fromEntries(names.map(name => [name, name === 'bounds' ? one[name] : added(one[name], other[name])]));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
