/**
 * What of an upstream server's answer belongs to the question: the chain of CNAMEs from its name and the records at the end, SOA of a negative answer, and
 * DNSSEC's proofs where they were asked for. Nothing else is kept or passed on (RFC 2181 §5.4.1, RFC 5452 §6): neither additional records nor other names. Pure.
 */
import { type Answer, type DnsRecord, RCODE, type Rcode, TYPE } from '../records.ts';
import { expandedData, expandedName, type Message, type RawRecord, saneTtl } from '../wire/message.ts';
import { nameText } from '../wire/names.ts';
import { FLAG, HEADER_BYTES } from '../wire/query.ts';
import { encode } from '../wire/response.ts';

const CLASS_IN = 1;
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [TYPE.A, 4],
  [TYPE.AAAA, 16],
]);
/** NSEC and NSEC3: that there is nothing, or no better match for a wildcard. */
const DENIALS: ReadonlySet<number> = new Set([TYPE.NSEC, TYPE.NSEC3]);
/** CNAMEs that are followed, of one answer. */
const MOST_LINKS = 32;
/** What a header has room for. */
const MOST_HEADER_RCODE = 15;
/** Behind so many bytes the data of RRSIG has the signer's name. */
const SIGNER_AT = 18;

interface Named {
  readonly record: RawRecord;
  /** Its owner, lower case. */
  readonly name: string;
}

/**
 * The answer's own bytes where nothing has to go but from its end; else written anew. SERVFAIL where CNAMEs lead in a circle or on and on: what is left of such an
 * answer would say that there is nothing. Undefined = no answer to the question, however it is read.
 */
export function belonging(bytes: Buffer, message: Message, isDnssecOk: boolean): Buffer | undefined {
  const named = namedRecords(bytes, message);
  if (named === undefined) return undefined;
  const inClass = named.filter(({ record }) => record.class === CLASS_IN);
  const chain = chainOf(bytes, message, inClass);
  // Without OPT nothing is left of an error that takes more bits.
  if (chain === undefined || message.rcode > MOST_HEADER_RCODE) return failure(bytes, message);
  const kept = keptRecords({ bytes, message, isDnssecOk }, inClass, chain);
  const isStart = kept.every(({ record }, i) => record === named[i]?.record);
  return isStart ? firstRecords(bytes, message, kept) : rewritten(bytes, message, kept);
}

function namedRecords(bytes: Buffer, { records }: Message): readonly Named[] | undefined {
  const named: Named[] = [];
  for (const record of records) {
    const name = expandedName(bytes, record.at);
    if (name === undefined) return undefined;
    named.push({ record, name: nameText(name).toLowerCase() });
  }
  return named;
}

interface Read {
  readonly bytes: Buffer;
  readonly message: Message;
  readonly isDnssecOk: boolean;
}

function keptRecords(
  { bytes, message, isDnssecOk }: Read,
  inClass: readonly Named[],
  chain: readonly string[],
): readonly Named[] {
  const last = chain.at(-1) ?? '';
  const isWanted = ({ record: { type } }: Named) =>
    type === message.type || type === TYPE.CNAME || message.type === TYPE.ANY || (type === TYPE.RRSIG && isDnssecOk);
  const answers = inClass.filter(each => {
    if (each.record.section !== 'answer') return false;
    if (each.record.type === TYPE.DNAME) return chain.some(name => isBelow(name, each.name));
    return isWanted(each) && isWhole(each) && chain.includes(each.name);
  });
  // Some clients read on only from a CNAME to what is behind it.
  const inOrder = answers.toSorted((a, b) => chain.indexOf(a.name) - chain.indexOf(b.name));
  const soa = inClass.find(
    ({ record, name }) => record.section === 'authority' && record.type === TYPE.SOA && isBelow(last, name),
  );
  const zone = soa?.name ?? signerOf(bytes, answers, last);
  const proofs = inClass.filter(
    each =>
      each.record.section === 'authority' &&
      (each === soa || (zone !== undefined && isDnssecOk && isProof(each) && isBelow(each.name, zone))),
  );
  return [...inOrder, ...proofs];
}

/** An address has so many bytes. */
function isWhole({ record: { type, dataAt, end } }: Named): boolean {
  const size = ADDRESS_BYTES.get(type);
  return size === undefined || end - dataAt === size;
}

function isProof({ record: { type } }: Named): boolean {
  return type === TYPE.RRSIG || DENIALS.has(type);
}

/** The question's name, and where CNAMEs lead from it; undefined = to no end. */
function chainOf(bytes: Buffer, message: Message, named: readonly Named[]): readonly string[] | undefined {
  const question = expandedName(bytes, HEADER_BYTES);
  const chain = [question === undefined ? '' : nameText(question).toLowerCase()];
  const links = new Map<string, string>();
  for (const { record, name } of named) {
    if (record.section !== 'answer' || record.type !== TYPE.CNAME || links.has(name)) continue;
    const target = expandedData(bytes, record);
    if (target !== undefined) links.set(name, nameText(target).toLowerCase());
  }
  if (message.type === TYPE.CNAME) return chain;
  for (let next = links.get(chain[0]!); next !== undefined; next = links.get(next)) {
    if (chain.length > MOST_LINKS || chain.includes(next)) return undefined;
    chain.push(next);
  }
  return chain;
}

/** The zone that a positive answer was signed in. */
function signerOf(bytes: Buffer, answers: readonly Named[], last: string): string | undefined {
  const signature = answers.find(({ record, name }) => record.type === TYPE.RRSIG && name === last)?.record;
  const name = signature === undefined ? undefined : expandedName(bytes, signature.dataAt + SIGNER_AT);
  const signer = name === undefined ? undefined : nameText(name).toLowerCase();
  return signer !== undefined && isBelow(last, signer) ? signer : undefined;
}

/** Or the same. */
function isBelow(name: string, above: string): boolean {
  return above === '' || name === above || name.endsWith(`.${above}`);
}

/** Pointers lead to what is before them, so that what is behind can go. */
function firstRecords(bytes: Buffer, { nameEnd }: Message, kept: readonly Named[]): Buffer {
  const end = kept.at(-1)?.record.end ?? nameEnd + 4;
  const out = Buffer.from(bytes.subarray(0, end));
  const count = (wanted: string) => kept.filter(({ record }) => record.section === wanted).length;
  for (const [i, section] of ['answer', 'authority', 'additional'].entries())
    out.writeUInt16BE(count(section), 6 + 2 * i);
  for (const { record } of kept) out.writeUInt32BE(saneTtl(record.ttl), record.ttlAt);
  return out;
}

function failure(bytes: Buffer, message: Message): Buffer {
  const out = firstRecords(bytes, message, []);
  out.writeUInt16BE((message.flags & ~(MOST_HEADER_RCODE | FLAG.truncated)) | RCODE.SERVFAIL, 2);
  return out;
}

function rewritten(bytes: Buffer, message: Message, kept: readonly Named[]): Buffer {
  const answer = answerOf(
    bytes,
    message,
    kept.map(({ record }) => record),
  );
  const question = bytes.subarray(HEADER_BYTES, message.nameEnd);
  return encode(question, { type: message.type, zone: '', flags: message.flags & ~15 }, answer).bytes;
}

/** Records of a message, with names of their own. */
export function answerOf(bytes: Buffer, { rcode }: Message, records: readonly RawRecord[]): Answer {
  const of = (wanted: string): readonly DnsRecord[] =>
    records.filter(({ section }) => section === wanted).flatMap(record => ownRecord(bytes, record));
  return { rcode: rcode as Rcode, answers: of('answer'), authority: of('authority'), additional: [] };
}

function ownRecord(bytes: Buffer, record: RawRecord): readonly DnsRecord[] {
  const [owner, raw] = [expandedName(bytes, record.at), expandedData(bytes, record)];
  if (owner === undefined || raw === undefined) return [];
  const { type } = record;
  const ttl = saneTtl(record.ttl);
  const name = nameText(owner);
  // As a name, so that the records of its target can point to it.
  if (type === TYPE.CNAME) return [{ name, ttl, type, target: nameText(raw) }];
  return [{ name, ttl, type, raw }];
}
