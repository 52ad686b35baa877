/** What an answer should have been, and wasn't. Sections compare as sets; names without regard to case unless a case says otherwise. Pure. */
import { canonicalIP } from '../../../../src/net/ip.ts';
import type { DecodedRecord, Reply } from './ask.ts';
import type { DnsCase, VectorRecord } from './suite.ts';

const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];
const BADVERS = 16;
const FLAG_BITS: Readonly<Record<string, number>> = { qr: 0x8000, aa: 0x400, tc: 0x200, rd: 0x100, ra: 0x80, ad: 0x20 };

/** A line for each thing that is otherwise than it should be. */
export function complaints(wanted: DnsCase, reply: Reply): readonly string[] {
  const { bytes } = reply;
  const opt = reply.additionals.find(({ type }) => type === 'OPT');
  const rcode = (bytes[3]! & 15) | ((opt?.extendedRcode ?? 0) << 4);
  const name = rcode === BADVERS ? 'BADVERS' : (RCODES[rcode] ?? String(rcode));
  const found: string[] = name === wanted.rcode ? [] : [`rcode ${wanted.rcode} expected, seen ${name}`];
  found.push(...sectionComplaints(wanted, reply), ...flagComplaints(wanted, bytes), ...ednsComplaints(wanted, opt));
  if (bytes.length > (wanted.maxSize ?? 65_535))
    found.push(`${bytes.length} bytes, at most ${wanted.maxSize} expected`);
  return found;
}

function sectionComplaints(wanted: DnsCase, reply: Reply): string[] {
  const cased = (text: string) => (wanted.exactCase === true ? text : text.toLowerCase());
  if (wanted.answerSubset === true) return subsetComplaints(wanted, reply.answers);
  const sections = [
    ['answer', wanted.answer, reply.answers],
    ['authority', wanted.authority, reply.authorities],
    ['additional', wanted.additional, reply.additionals.filter(({ type }) => type !== 'OPT')],
  ] as const;
  const found = sections.flatMap(([section, records = [], seen]) => {
    const [expected, got] = [records.map(record => cased(vectorText(record))), seen.map(record => cased(text(record)))];
    return isSame(expected, got)
      ? []
      : [`${section}:\n  expected ${expected.join('; ')}\n  seen     ${got.join('; ')}`];
  });
  return [...found, ...orderComplaints(reply.answers, wanted.qname)];
}

/** Each expected record has one that is seen, and no other is. */
function isSame(expected: readonly string[], seen: readonly string[]): boolean {
  const left = [...seen];
  const take = (wanted: string) => {
    const at = left.findIndex(text => fits(wanted, text));
    if (at !== -1) left.splice(at, 1);
    return at !== -1;
  };
  return expected.length === seen.length && expected.every(take);
}

/** A record of any TTL takes any. */
function fits(wanted: string, seen: string): boolean {
  return wanted === seen || wanted === seen.replace(/^(\S+) \d+ /, '$1 * ');
}

function subsetComplaints({ answer = [] }: DnsCase, seen: readonly DecodedRecord[]): string[] {
  const all = answer.map(record => vectorText(record).toLowerCase());
  const lines = seen.map(record => text(record).toLowerCase());
  const strangers = lines.filter(line => !all.some(wanted => fits(wanted, line)));
  if (strangers.length > 0) return [`answers that aren't expected: ${strangers.join('; ')}`];
  return lines.length > 0 && new Set(lines).size < all.length
    ? []
    : [`${lines.length} of ${all.length} answers, some but not all expected`];
}

/** A CNAME stands before its target, but for one that leads back to the question. */
function orderComplaints(answers: readonly DecodedRecord[], qname: string): string[] {
  const first = qname.toLowerCase().replace(/\.$/, '');
  return answers.flatMap((record, at) => {
    const target = String(record.data).toLowerCase();
    if (record.type !== 'CNAME' || target === first) return [];
    return answers.slice(0, at).some(({ name }) => name.toLowerCase() === target)
      ? [`${record.name}: behind its target`]
      : [];
  });
}

function flagComplaints({ flags = {} }: DnsCase, bytes: Buffer): string[] {
  const seen = bytes.readUInt16BE(2);
  return Object.entries(flags).flatMap(([flag, isSet]) => {
    const bit = FLAG_BITS[flag];
    if (bit === undefined) return [`the flag ${flag} is unknown to this runner`];
    return ((seen & bit) !== 0) === isSet ? [] : [`${flag} ${isSet ? '' : 'not '}expected`];
  });
}

function ednsComplaints({ edns }: DnsCase, opt: DecodedRecord | undefined): string[] {
  if (edns === undefined) return [];
  if (edns === null) return opt === undefined ? [] : ['no OPT record expected'];
  if (opt === undefined) return ['an OPT record expected'];
  const seen = { version: opt.ednsVersion, udpSize: opt.udpPayloadSize, do: ((opt.flags ?? 0) & 0x8000) !== 0 };
  return Object.entries(edns).flatMap(([field, value]) => {
    const got = seen[field as keyof typeof seen];
    return got === value ? [] : [`EDNS ${field} ${String(value)} expected, seen ${String(got)}`];
  });
}

function vectorText({ name, ttl, type, rdata }: VectorRecord): string {
  const data = type === 'AAAA' ? (canonicalIP(rdata) ?? rdata) : rdata;
  return `${name} ${ttl ?? '*'} ${type} ${data}`;
}

function text(record: DecodedRecord): string {
  return `${absolute(record.name)} ${record.ttl ?? 0} ${record.type} ${dataText(record)}`;
}

function absolute(name: string): string {
  return name === '.' || name === '' ? '.' : `${name}.`;
}

/** In presentation form, the serial of SOA as `*`. */
function dataText({ type, data }: DecodedRecord): string {
  const fields = data as Readonly<Record<string, string>>;
  switch (type) {
    case 'SRV':
      return `${fields.priority} ${fields.weight} ${fields.port} ${absolute(fields.target ?? '')}`;
    case 'MX':
      return `${fields.preference} ${absolute(fields.exchange ?? '')}`;
    case 'SOA':
      return `${absolute(fields.mname ?? '')} ${absolute(fields.rname ?? '')} * ${fields.refresh} ${fields.retry} ${fields.expire} ${fields.minimum}`;
    case 'TXT':
      return (Array.isArray(data) ? data : [data]).map(part => `"${String(part)}"`).join(' ');
    case 'CNAME':
    case 'PTR':
    case 'NS':
      return absolute(String(data));
    case 'AAAA':
      return canonicalIP(String(data)) ?? String(data);
    default:
      return String(data);
  }
}
