/** An engine with what it needs, and questions and answers by another implementation of the protocol. */
import { type DecodedPacket, decode, encode, type Packet, type RecordType } from 'dns-packet';
import { type DnsChange, Engine } from '../../../src/dns/engine.ts';
import type { DnsSettings } from '../../../src/dns/settings.ts';
import type { DnsService } from '../../../src/dns/zone/dns-service.ts';

export const CLIENT = { address: '10.244.0.7', port: 40_000 };

export const SETTINGS: DnsSettings = {
  zones: ['cluster.local', 'in-addr.arpa', 'ip6.arpa'],
  ttl: 5,
  pods: 'disabled',
  ignoresEmptyServices: false,
  fallthrough: [],
  selfIPs: ['10.244.0.20'],
  upstreams: [],
  maxConcurrent: 100,
  cacheBytes: 1_000_000,
  clients: ['0.0.0.0/0', '::/0'],
  unlimited: [],
  perSecond: 0,
};

export interface LabOptions extends Partial<DnsSettings> {
  readonly changes?: readonly DnsChange[];
  readonly isSynced?: boolean;
  readonly instance?: string;
}

/** An engine whose monotonic clock stands still until a test moves it: not for what waits for sockets. */
export class EngineLab {
  readonly failures: { readonly server: { readonly port: number }; readonly error: Error }[] = [];
  readonly faults: unknown[] = [];
  readonly engine: Engine;
  nowMs = 1000;
  wallMs = 1_700_000_000_000;

  constructor({ changes = [], isSynced = true, instance = 'test', ...settings }: LabOptions = {}) {
    this.engine = new Engine({
      settings: { ...SETTINGS, ...settings },
      now: () => this.nowMs,
      wallClock: () => this.wallMs,
      instance,
      onUpstreamFailure: (server, error) => this.failures.push({ server, error }),
      onFault: error => this.faults.push(error),
    });
    this.engine.apply(changes);
    if (isSynced) this.engine.setSynced();
  }

  /** The answer as another decoder reads it, its bytes, and its rcode with what EDNS adds. */
  async ask(name: string, type: string, how: HowToAsk = {}): Promise<Heard> {
    const bytes = await this.engine.respond(asking(name, type, how), how.client ?? CLIENT, how.isTcp ?? false);
    if (bytes === undefined) throw new TypeError(`no answer to ${name} ${type}`);
    return heard(bytes);
  }
}

export interface HowToAsk {
  readonly edns?: { readonly udpSize?: number; readonly do?: boolean; readonly version?: number } | undefined;
  readonly rd?: boolean;
  readonly class?: string;
  readonly isTcp?: boolean;
  readonly client?: { readonly address: string; readonly port: number };
}

const OPT_FLAG_DO = 0x8000;

export function asking(name: string, type: string, { edns, rd = true, class: dnsClass = 'IN' }: HowToAsk = {}): Buffer {
  const { udpSize = 1232, do: isDnssecOk = false, version = 0 } = edns ?? {};
  const flags = isDnssecOk ? OPT_FLAG_DO : 0;
  const opt = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: udpSize,
    extendedRcode: 0,
    ednsVersion: version,
    flags,
    options: [],
  };
  const question = { type: type as RecordType, class: dnsClass as 'IN', name: name.replace(/\.$/, '') || '.' };
  const extra = edns === undefined ? {} : { additionals: [{ ...opt, flag_do: isDnssecOk } as never] };
  return encode({ type: 'query', id: 4711, flags: rd ? 0x0100 : 0, questions: [question], ...extra } satisfies Packet);
}

export interface Heard {
  readonly bytes: Buffer;
  readonly packet: DecodedPacket;
  readonly rcode: number;
  /** Data of the answers, addresses and names alike. */
  readonly data: readonly unknown[];
}

export function heard(bytes: Buffer): Heard {
  const packet = decode(bytes);
  const opt = packet.additionals?.find(({ type }) => type === 'OPT') as { extendedRcode?: number } | undefined;
  const data = (packet.answers ?? []).map(answer => ('data' in answer ? answer.data : undefined));
  return { bytes, packet, rcode: (bytes[3]! & 15) | ((opt?.extendedRcode ?? 0) << 4), data };
}

type Given = Partial<Omit<DnsService, 'groups'>> & {
  readonly endpoints?: string;
  readonly endpointPorts?: DnsService['ports'];
};

const HTTP = { name: 'http', protocol: 'TCP', port: 80 } as const;

/** A change of a Service of the namespace `default`. @param given its endpoints as `packed` of one group */
export function serviceChange(name: string, given: Given = {}): DnsChange {
  const { namespace = 'default', endpoints = '', endpointPorts = [HTTP], ...rest } = given;
  const groups = endpoints === '' ? [] : [{ ports: endpointPorts, packed: endpoints }];
  const plain = { kind: 'cluster-ip', clusterIPs: [], externalName: '', ports: [HTTP] } as const;
  return { kind: 'service', namespace, name, service: { ...plain, ...rest, namespace, name, groups } };
}

export const DEFAULT_NAMESPACE: DnsChange = { kind: 'namespace', name: 'default', exists: true };
