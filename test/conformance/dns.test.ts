/** The suites of cluster DNS against the real server over real sockets, and that the runner sees what is wrong. */
import { fileURLToPath } from 'node:url';
import packet from 'dns-packet';
import { describe, expect, it } from 'vitest';
import type { Reply } from './runner/dns/ask.ts';
import { encoded } from './runner/dns/ask.ts';
import { complaints } from './runner/dns/judge.ts';
import { runDns } from './runner/dns/run-dns.ts';
import { runSuite } from './runner/dns/run-suite.ts';
import type { DnsCase, DnsSuite, VectorRecord } from './runner/dns/suite.ts';
import { reportLines } from './runner/result.ts';
import { listAt, readVectors } from './runner/vector-files.ts';

const files = await readVectors(fileURLToPath(new URL('./vectors', import.meta.url)));
const WEB = 'web.default.svc.cluster.local';

describe('the suites of dns-public.json', () => {
  const suites = files
    .filter(({ schema }) => schema === 'kproxy-vectors/dns/v1')
    .flatMap(file => listAt<DnsSuite>(file, 'suites'));

  it('are answered as they should be', { timeout: 120_000 }, async () => {
    const results = await runDns(files);
    const failed = results.filter(({ status }) => status === 'failed');
    expect(reportLines(failed)).toEqual(['0 passed, 0 failed, 0 skipped']);
    const passed = results.filter(({ status }) => status === 'passed');
    expect(passed.length).toBeGreaterThan(suites.length);
  });

  it('skip only what comes later, with the reason', async () => {
    const later = suites.filter(
      ({ options }) => (options.externalZones ?? options.multiclusterZones ?? options.transfer) !== undefined,
    );
    const results = (await Promise.all(later.map(suite => runSuite(suite, { serviceCIDRs: [] })))).flat();
    expect(results.length).toBeGreaterThan(0);
    expect(results.every(({ status }) => status === 'skipped')).toBe(true);
  });
});

describe('a suite that nobody here has seen', () => {
  const ofOthers = { name: 'out', namespace: 'default' };
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: ofOthers,
    spec: { type: 'ExternalName', externalName: 'mail.example.org' },
  };
  const records: readonly VectorRecord[] = [
    { name: 'mail.example.org.', type: 'CNAME', ttl: 60, rdata: 'mx.example.net.' },
    { name: 'mx.example.net.', type: 'MX', ttl: 60, rdata: '10 a.example.net.' },
    { name: 'mx.example.net.', type: 'TXT', ttl: 60, rdata: '"v=spf1 -all" "more"' },
  ];
  const ask = (qtype: string, answer: readonly VectorRecord[]): DnsCase => ({
    qname: 'out.default.svc.cluster.local.',
    qtype,
    rcode: 'NOERROR',
    answer: [
      { name: 'out.default.svc.cluster.local.', type: 'CNAME', rdata: 'mail.example.org.' },
      records[0]!,
      ...answer,
    ],
  });
  const suite = (objects: readonly object[]): DnsSuite =>
    ({
      name: 'others',
      options: { zones: ['cluster.local'], upstream: { records } },
      objects,
      cases: [ask('MX', [records[1]!]), ask('TXT', [records[2]!]), ask('A', [])],
    }) as unknown as DnsSuite;

  it('has records of any usual type, and aliases of aliases', async () => {
    const results = await runSuite(suite([service]), { serviceCIDRs: [] });
    expect(reportLines(results)).toEqual(['6 passed, 0 failed, 0 skipped']);
  });

  it('fails alone where its objects cannot be made', async () => {
    const odd = { apiVersion: 'example.org/v1', kind: 'Gadget', metadata: { name: 'x' } };
    const results = await runSuite(suite([odd]), { serviceCIDRs: [] });
    expect(results.map(({ status }) => status)).toEqual(['failed', 'failed', 'failed']);
    expect(reportLines(results).join('\n')).toContain('the kind Gadget is unknown to this runner');
  });
});

describe('a suite with one wrong expectation', () => {
  const suite: DnsSuite = {
    name: 'wrong',
    options: { zones: ['cluster.local.'] },
    objects: [],
    cases: [
      { qname: 'nope.default.svc.cluster.local.', qtype: 'A', rcode: 'NOERROR' },
      { qname: 'dns-version.cluster.local.', qtype: 'TXT', rcode: 'NOERROR', answer: [txt('1.1.0')] },
      { qname: 'dns-version.cluster.local.', qtype: 'TXT', rcode: 'NOERROR', answer: [txt('9.9.9')] },
    ],
  };

  it('fails in that', { timeout: 20_000 }, async () => {
    const results = await runSuite(suite, { serviceCIDRs: ['10.96.0.0/12'] });
    expect(results.map(({ status }) => status)).toEqual(['failed', 'failed', 'passed', 'passed', 'failed', 'failed']);
    expect(reportLines(results).join('\n')).toContain('rcode NOERROR expected, seen NXDOMAIN');
  });
});

function txt(text: string): VectorRecord {
  return { name: 'dns-version.cluster.local.', type: 'TXT', rdata: `"${text}"` };
}

interface Answer {
  readonly flags?: number;
  readonly answers?: readonly object[];
  readonly authorities?: readonly object[];
  readonly additionals?: readonly object[];
}

const AA = 0x400;
const NXDOMAIN = 3;

function replyOf({ flags = AA, answers = [], authorities = [], additionals = [] }: Answer): Reply {
  const questions = [{ type: 'A', name: WEB, class: 'IN' }];
  const bytes = encoded({ type: 'response', id: 7, flags, questions, answers, authorities, additionals });
  const decoded = packet.decode(bytes) as unknown as Reply & { readonly flag_tc: boolean };
  return { ...decoded, bytes, isTruncated: decoded.flag_tc };
}

const a = (data: string, fields: object = {}) => ({ type: 'A', name: WEB, ttl: 5, data, ...fields });
const wantedA = (rdata: string, ttl?: number): VectorRecord => {
  const record = { name: `${WEB}.`, type: 'A', rdata };
  return ttl === undefined ? record : { ...record, ttl };
};
const wanted = (fields: Partial<DnsCase> = {}): DnsCase => ({
  qname: `${WEB}.`,
  qtype: 'A',
  rcode: 'NOERROR',
  ...fields,
});
const opt = (fields: object = {}) => ({
  type: 'OPT',
  name: '.',
  udpPayloadSize: 1232,
  flags: 0,
  ednsVersion: 0,
  options: [],
  ...fields,
});

describe('a reply as it should be', () => {
  it.each<readonly [string, DnsCase, Answer]>([
    ['with its record', wanted({ answer: [wantedA('10.96.0.10', 5)] }), { answers: [a('10.96.0.10')] }],
    ['with any TTL', wanted({ answer: [wantedA('10.96.0.10')] }), { answers: [a('10.96.0.10', { ttl: 77 })] }],
    [
      'in any order',
      wanted({ answer: [wantedA('10.0.0.1'), wantedA('10.0.0.2')] }),
      { answers: [a('10.0.0.2'), a('10.0.0.1')] },
    ],
    [
      'in other letters',
      wanted({ answer: [wantedA('10.0.0.1')] }),
      { answers: [a('10.0.0.1', { name: WEB.toUpperCase() })] },
    ],
    ['with OPT', wanted({ edns: { udpSize: 1232 } }), { additionals: [opt()] }],
    [
      'with a part',
      wanted({ answerSubset: true, answer: [wantedA('10.0.0.1'), wantedA('10.0.0.2')] }),
      { answers: [a('10.0.0.1')] },
    ],
  ])('%s has no complaint', (_name, expected, answer) => {
    expect(complaints(expected, replyOf(answer))).toEqual([]);
  });
});

describe('a reply that is wrong', () => {
  const cname = { type: 'CNAME', name: WEB, ttl: 5, data: 'db.example' };
  const target = { type: 'A', name: 'db.example', ttl: 5, data: '10.0.0.9' };
  const wantedTarget = { name: 'db.example.', type: 'A', rdata: '10.0.0.9' };
  it.each<readonly [string, DnsCase, Answer, RegExp]>([
    ['rcode', wanted(), { flags: AA | NXDOMAIN }, /^rcode NOERROR expected, seen NXDOMAIN/],
    ['BADVERS', wanted(), { additionals: [opt({ extendedRcode: 1 })] }, /seen BADVERS/],
    ['lacking record', wanted({ answer: [wantedA('10.0.0.1')] }), {}, /^answer:/],
    ['record too many', wanted(), { answers: [a('10.0.0.1')] }, /^answer:/],
    [
      'record twice',
      wanted({ answer: [wantedA('10.0.0.1')] }),
      { answers: [a('10.0.0.1'), a('10.0.0.1')] },
      /^answer:/,
    ],
    ['other address', wanted({ answer: [wantedA('10.0.0.1')] }), { answers: [a('10.0.0.2')] }, /^answer:/],
    ['other TTL', wanted({ answer: [wantedA('10.0.0.1', 30)] }), { answers: [a('10.0.0.1')] }, /^answer:/],
    [
      'other case where it matters',
      wanted({ exactCase: true, answer: [wantedA('10.0.0.1')] }),
      { answers: [a('10.0.0.1', { name: WEB.toUpperCase() })] },
      /^answer:/,
    ],
    ['authority', wanted(), { authorities: [a('10.0.0.1')] }, /^authority:/],
    ['additional', wanted(), { additionals: [a('10.0.0.1')] }, /^additional:/],
    [
      'CNAME behind its target',
      wanted({ answer: [{ name: `${WEB}.`, type: 'CNAME', rdata: 'db.example.' }, wantedTarget] }),
      { answers: [target, cname] },
      /behind its target/,
    ],
    ['flag that is missing', wanted({ flags: { aa: true } }), { flags: 0 }, /aa/],
    ['flag too many', wanted({ flags: { aa: false } }), {}, /aa/],
    ['OPT that nobody wanted', wanted({ edns: null }), { additionals: [opt()] }, /./],
    ['OPT that is missing', wanted({ edns: { udpSize: 1232 } }), {}, /./],
    ['other UDP size', wanted({ edns: { udpSize: 4096 } }), { additionals: [opt()] }, /./],
    ['DO that is missing', wanted({ edns: { do: true } }), { additionals: [opt()] }, /./],
    [
      'all where a part is wanted',
      wanted({ answerSubset: true, answer: [wantedA('10.0.0.1')] }),
      { answers: [a('10.0.0.1')] },
      /some but not all/,
    ],
    [
      'stranger in the part',
      wanted({ answerSubset: true, answer: [wantedA('10.0.0.1'), wantedA('10.0.0.2')] }),
      { answers: [a('10.0.0.3')] },
      /aren't expected/,
    ],
    ['size', wanted({ maxSize: 20 }), {}, /at most 20 expected/],
  ])('by its %s is complained of, once', (_name, expected, answer, complaint) => {
    const found = complaints(expected, replyOf(answer));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(complaint);
  });
});
