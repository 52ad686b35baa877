/** Every case of cluster DNS that concerns an engine, in this process. Over sockets and from an API server: the conformance runner. */
import { readFileSync } from 'node:fs';
import type { Answer } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import type { DnsChange } from '../../../src/dns/engine.ts';
import { rcodeName } from '../../../src/dns/types.ts';
import { dnsServiceOf } from '../../../src/dns/zone/from-objects.ts';
import type { EndpointSlice } from '../../../src/watch/objects.ts';
import { trimEndpointSlice, trimService } from '../../../src/watch/trim.ts';
import { knowing, NameServer } from '../../fakes/name-server.ts';
import { EngineLab, type Heard, type HowToAsk, type LabOptions } from './engine-lab.ts';

interface VectorRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number;
  readonly rdata: string;
}

interface Case {
  readonly qname: string;
  readonly qtype: string;
  readonly rcode: string;
  readonly answer: readonly VectorRecord[];
  readonly authority?: readonly VectorRecord[];
  readonly additional?: readonly VectorRecord[];
  readonly exactCase?: boolean;
  readonly query?: HowToAsk & { readonly transport?: string };
  readonly flags?: Readonly<Record<string, boolean>>;
  readonly edns?: Readonly<Record<string, number | boolean>> | null;
  readonly answerSubset?: boolean;
  readonly maxSize?: number;
}

interface Raw {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly status?: { readonly podIP?: string };
}

interface Suite {
  readonly name: string;
  readonly options: {
    readonly zones: readonly string[];
    readonly podMode: 'disabled' | 'insecure' | 'verified';
    readonly ttl?: number;
    readonly namespaces?: readonly string[];
    readonly synced?: boolean;
    readonly ignoreEmptyService?: boolean;
    readonly endpointPodNames?: boolean;
    readonly fallthrough?: readonly string[];
    readonly selfIPs?: readonly string[];
    readonly upstream?: { readonly records: readonly VectorRecord[]; readonly truncated?: boolean };
  };
  readonly objects: readonly Raw[];
  readonly cases: readonly Case[];
}

/** What isn't there yet, and why. */
const SKIPPED: Readonly<Record<string, string>> = {
  'external-zone': 'names of external addresses are a later part',
  axfr: 'zones are not transferred',
  multicluster: 'the multi-cluster API is a later part',
};

const file = new URL('../../conformance/vectors/dns-public.json', import.meta.url);
const { suites } = JSON.parse(readFileSync(file, 'utf8')) as { readonly suites: readonly Suite[] };
const plain = (name: string) => name.toLowerCase().replace(/\.$/, '');

function changesOf({ objects, options }: Suite): readonly DnsChange[] {
  const isVisible = (namespace: string) => options.namespaces?.includes(namespace) ?? true;
  const naming = { endpointPodNames: options.endpointPodNames === true };
  const slices = objects.flatMap(raw => {
    const slice = raw.kind === 'EndpointSlice' ? trimEndpointSlice(raw, { keepsPodNames: true }).object : undefined;
    return slice === undefined ? [] : [slice];
  });
  const changes = objects.flatMap(raw => changeOf(raw, slices, naming));
  return [{ kind: 'namespace', name: 'default', exists: true } as const, ...changes].filter(change =>
    isVisible(change.kind === 'namespace' ? change.name : change.namespace),
  );
}

function changeOf(
  raw: Raw,
  slices: readonly EndpointSlice[],
  naming: { endpointPodNames: boolean },
): readonly DnsChange[] {
  const { name, namespace = '' } = raw.metadata;
  if (raw.kind === 'Namespace') return [{ kind: 'namespace', name, exists: true }];
  const podIP = raw.status?.podIP;
  if (raw.kind === 'Pod') return podIP === undefined ? [] : [{ kind: 'pods', namespace, added: [podIP], removed: [] }];
  const service = raw.kind === 'Service' ? trimService(raw).object : undefined;
  if (service === undefined) return [];
  const own = slices.filter(slice => slice.serviceName === name && slice.namespace === namespace);
  return [{ kind: 'service', namespace, name, service: dnsServiceOf(service, own, naming) }];
}

const DATA: Readonly<Record<string, (data: never) => string>> = {
  SRV: ({ priority, weight, port, target }: Record<string, string>) => `${priority} ${weight} ${port} ${target}.`,
  SOA: (soa: Record<string, string>) =>
    `${soa.mname}. ${soa.rname}. * ${soa.refresh} ${soa.retry} ${soa.expire} ${soa.minimum}`,
  TXT: (data: readonly Buffer[]) => data.map(each => `"${each.toString()}"`).join(' '),
  CNAME: (data: string) => `${data}.`,
  PTR: (data: string) => `${data}.`,
  NS: (data: string) => `${data}.`,
};

function textOf(answer: Answer): string {
  const { name, ttl, type, data } = answer as { name: string; ttl: number; type: string; data: unknown };
  return `${name}. ${ttl} ${type} ${DATA[type]?.(data as never) ?? String(data)}`;
}

const FLAGS: Readonly<Record<string, number>> = { qr: 0x8000, aa: 0x400, tc: 0x200, rd: 0x100, ra: 0x80, ad: 0x20 };

function expectHeard({ bytes, packet, rcode }: Heard, wanted: Case): void {
  const cased = (text: string) => (wanted.exactCase === true ? text : text.toLowerCase());
  const asked = (records: readonly VectorRecord[] = []) =>
    records.map(({ name, ttl, type, rdata }) => cased(`${name} ${ttl} ${type} ${rdata}`)).toSorted();
  const got = (records: readonly Answer[] = []) =>
    records
      .filter(({ type }) => type !== 'OPT')
      .map(record => cased(textOf(record)))
      .toSorted();
  expect(rcodeName(rcode)).toBe(wanted.rcode);
  if (wanted.answerSubset === true) {
    expect(got(packet.answers).length).toBeGreaterThan(0);
    expect(got(packet.answers).length).toBeLessThan(wanted.answer.length);
    expect(asked(wanted.answer)).toEqual(expect.arrayContaining(got(packet.answers)));
  } else {
    expect(got(packet.answers)).toEqual(asked(wanted.answer));
    expect(got(packet.authorities)).toEqual(asked(wanted.authority));
    expect(got(packet.additionals)).toEqual(asked(wanted.additional));
  }
  if (wanted.maxSize !== undefined) expect(bytes.length).toBeLessThanOrEqual(wanted.maxSize);
  for (const [flag, isSet] of Object.entries(wanted.flags ?? {})) {
    expect([flag, (bytes.readUInt16BE(2) & FLAGS[flag]!) !== 0]).toEqual([flag, isSet]);
  }
  const opt = packet.additionals?.find(({ type }) => type === 'OPT');
  if (wanted.edns === null) expect(opt).toBeUndefined();
  const { udpSize, do: isDnssecOk, version } = wanted.edns ?? {};
  if (udpSize !== undefined) expect(opt).toMatchObject({ udpPayloadSize: udpSize });
  if (isDnssecOk !== undefined) expect(opt).toMatchObject({ flag_do: isDnssecOk });
  if (version !== undefined) expect(opt).toMatchObject({ ednsVersion: version });
}

async function openUpstream({ options }: Suite): Promise<NameServer> {
  const records = (options.upstream?.records ?? []).map(({ name, type, ttl = 0, rdata }) => {
    const data = type === 'A' || type === 'AAAA' ? rdata : plain(rdata);
    return { name: plain(name), type, ttl, data } as Answer;
  });
  return NameServer.open(knowing(records, { isTruncated: options.upstream?.truncated === true }));
}

function labOf(suite: Suite, upstreams: LabOptions['upstreams']): EngineLab {
  const { zones, podMode, ttl = 5, synced = true, selfIPs = [], fallthrough = [] } = suite.options;
  return new EngineLab({
    changes: changesOf(suite),
    zones: zones.map(plain),
    fallthrough: fallthrough.map(plain),
    pods: podMode,
    ttl,
    selfIPs,
    isSynced: synced,
    ignoresEmptyServices: suite.options.ignoreEmptyService === true,
    ...(upstreams === undefined ? {} : { upstreams }),
  });
}

describe.each(suites.filter(({ name }) => SKIPPED[name] === undefined))('$name', suite => {
  it.each(suite.cases.map(each => [`${each.qname} ${each.qtype}`, each] as const))('%s', async (_name, wanted) => {
    await using upstream = await openUpstream(suite);
    const lab = labOf(suite, suite.options.upstream === undefined ? [] : [upstream.place]);
    const { transport, ...query } = wanted.query ?? {};
    const how = { ...query, isTcp: transport === 'tcp' };
    // The first answer is made, the second one is kept.
    for (const _ of ['made', 'kept']) expectHeard(await lab.ask(wanted.qname, wanted.qtype, how), wanted);
    expect(lab.faults).toEqual([]);
  });
});

describe('skipped suites', () => {
  it('are in the file, so that none is skipped by mistake', () => {
    expect(suites.map(({ name }) => name)).toEqual(expect.arrayContaining(Object.keys(SKIPPED)));
  });
});
