/** The shapes of kproxy-vectors/dns/v1: see vectors/README.md, items 1 to 20. */

export interface VectorRecord {
  readonly name: string;
  readonly type: string;
  /** Absent = any. */
  readonly ttl?: number;
  /** In presentation form. */
  readonly rdata: string;
}

export interface DnsCase {
  readonly qname: string;
  readonly qtype: string;
  readonly rcode: string;
  readonly answer?: readonly VectorRecord[];
  readonly authority?: readonly VectorRecord[];
  readonly additional?: readonly VectorRecord[];
  readonly exactCase?: boolean;
  readonly answerSubset?: boolean;
  readonly maxSize?: number;
  readonly query?: {
    readonly transport?: 'udp' | 'tcp';
    readonly rd?: boolean;
    readonly class?: string;
    readonly edns?: { readonly version?: number; readonly udpSize?: number; readonly do?: boolean };
  };
  readonly flags?: Readonly<Record<string, boolean>>;
  readonly edns?: { readonly version?: number; readonly udpSize?: number; readonly do?: boolean } | null;
}

export interface SuiteOptions {
  readonly zones: readonly string[];
  readonly podMode?: 'disabled' | 'insecure' | 'verified';
  readonly ttl?: number;
  readonly namespaces?: readonly string[];
  readonly synced?: boolean;
  readonly ignoreEmptyService?: boolean;
  readonly endpointPodNames?: boolean;
  readonly fallthrough?: readonly string[];
  readonly selfIPs?: readonly string[];
  readonly upstream?: { readonly records: readonly VectorRecord[]; readonly truncated?: boolean };
  readonly externalZones?: readonly string[];
  readonly multiclusterZones?: readonly string[];
  readonly transfer?: boolean;
}

export interface RawObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly status?: object;
}

export interface DnsSuite {
  readonly name: string;
  readonly options: SuiteOptions;
  readonly objects: readonly RawObject[];
  readonly cases: readonly DnsCase[];
}

/** What a suite needs that isn't there; '' = nothing. */
export function lacking({ externalZones, multiclusterZones, transfer }: SuiteOptions): string {
  if (externalZones !== undefined) return 'zones of external addresses come in a later version';
  if (multiclusterZones !== undefined) return 'Services of several clusters come in a later version';
  return transfer === true ? 'zone transfers come in a later version' : '';
}
