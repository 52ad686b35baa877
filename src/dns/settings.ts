/** What a server of names is told to be; checked where the configuration is read. Pure. */
import type { PodNames } from './zone/zone.ts';

export interface UpstreamServer {
  readonly address: string;
  readonly port: number;
}

export interface DnsSettings {
  /** Lower case, without the closing dot; reverse zones too. */
  readonly zones: readonly string[];
  /** Of our own records. Seconds, 0 to 3600. */
  readonly ttl: number;
  readonly pods: PodNames;
  /** Names of Services without a ready endpoint don't exist. */
  readonly ignoresEmptyServices: boolean;
  /** Of `zones`: those whose misses are asked of the upstream servers. */
  readonly fallthrough: readonly string[];
  /** Addresses that this server is reached by, for NS records and their glue. Canonical. */
  readonly selfIPs: readonly string[];
  /** In the order in which they are asked; none = other names are refused. */
  readonly upstreams: readonly UpstreamServer[];
  /** Questions to upstream servers under way; more are turned away. */
  readonly maxConcurrent: number;
  /** Of the upstream servers' answers that are kept. */
  readonly cacheBytes: number;
  /** Canonical CIDRs of clients that are answered. */
  readonly clients: readonly string[];
  /** Of these the clients that may ask as often as they like. */
  readonly unlimited: readonly string[];
  /** Questions a second of one of the others; 0 = no limit. */
  readonly perSecond: number;
}
