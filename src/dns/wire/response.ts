/** Answers as bytes, with compressed names (RFC 1035 §4.1.4). */
import { parseIPv4, parseIPv6 } from '../../net/ip.ts';
import { type Answer, type DnsRecord, TYPE } from '../records.ts';
import { wireName } from './names.ts';
import { FLAG, HEADER_BYTES } from './query.ts';

const CLASS_IN = 1;
const POINTER = 0xc000;
/** A pointer has 14 bits. */
const MOST_POINTED = 0x3fff;
export const MOST_BYTES = 65_535;

/** A piece of the question's name that is written out: at `at`, so many bytes of the question from `from` on. */
export interface Echo {
  readonly at: number;
  readonly from: number;
  readonly length: number;
}

/** Addresses of one name: `count` records of `size` bytes from `at` on, which may stand in any order. */
export interface Turn {
  readonly at: number;
  readonly size: number;
  readonly count: number;
}

/** An answer's bytes, and what of them changes each time it goes out. */
export interface Encoded {
  readonly bytes: Buffer;
  /** Undefined where there is nothing to turn. */
  readonly turn: Turn | undefined;
  /** Where the serial of our SOA is; 0 = nowhere. */
  readonly serialAt: number;
  readonly echoes: readonly Echo[];
}

const NO_ECHOES: readonly Echo[] = [];

/**
 * Header (id 0), the question and the records. What records share with the question, as a whole or from `zone` on, has its letters' case, whatever that
 * is; the rest of their names is as it is in the records. What is beyond 64 kB is left out, and the answer says so. @param question name in lower case
 * as bytes, with the root label; `flags` of the header without rcode
 */
export function encode(
  question: Buffer,
  { type, zone, flags }: { readonly type: number; readonly zone: string; readonly flags: number },
  answer: Answer,
): Encoded {
  const writer = new Writer(question, wireName(zone).length);
  writer.uint16(type);
  writer.uint16(CLASS_IN);
  const counts = [answer.answers, answer.authority, answer.additional].map(records => writer.section(records));
  const isCut = counts[0]! < answer.answers.length || counts[1]! < answer.authority.length;
  const bytes = writer.bytes();
  bytes.writeUInt16BE(flags | (isCut ? FLAG.truncated : 0) | (answer.rcode & 15), 2);
  bytes.writeUInt16BE(1, 4);
  for (const [i, count] of counts.entries()) bytes.writeUInt16BE(count, 6 + 2 * i);
  const { echoes, turn, serialAt } = writer;
  return { bytes, turn, serialAt, echoes: echoes.length === 0 ? NO_ECHOES : echoes };
}

function suffixKey(rest: Buffer): string {
  return rest.toString('latin1').toLowerCase();
}

class Writer {
  #buffer = Buffer.alloc(512);
  length = HEADER_BYTES;
  /** Suffixes in lower case, and where they are. */
  readonly #known = new Map<string, number>();
  readonly #questionEnd: number;
  readonly echoes: Echo[] = [];
  serialAt = 0;
  #turn: Turn = { at: 0, size: 0, count: 0 };
  #turnedName = '';
  /** The owner of the record before, and the pointer to it; 0 = too far to point there. */
  #owner = '';
  #pointer = 0;

  constructor(question: Buffer, zoneBytes: number) {
    this.#room(question.length);
    question.copy(this.#buffer, this.length);
    for (let at = 0; question[at] !== 0 && at < question.length; at += question[at]! + 1) {
      const isShared = at === 0 || question.length - at <= zoneBytes;
      if (isShared) this.#known.set(question.toString('latin1', at), HEADER_BYTES + at);
    }
    this.length += question.length;
    this.#questionEnd = this.length;
  }

  get turn(): Turn | undefined {
    return this.#turn.count > 1 ? this.#turn : undefined;
  }

  bytes(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.length));
  }

  /** As many of the records as there is room for. */
  section(records: readonly DnsRecord[]): number {
    for (const [count, record] of records.entries()) {
      const at = this.length;
      this.#record(record);
      if (this.length <= MOST_BYTES) {
        this.#noteTurn(record, at);
        continue;
      }
      this.length = at;
      while ((this.echoes.at(-1)?.at ?? 0) >= at) this.echoes.pop();
      return count;
    }
    return records.length;
  }

  /** The first addresses that stand one behind the other are what is turned: those of one name have one size. */
  #noteTurn({ type, name }: DnsRecord, at: number): void {
    if (type !== TYPE.A && type !== TYPE.AAAA) return;
    const { at: first, size, count } = this.#turn;
    if (count === 0) {
      this.#turn = { at, size: this.length - at, count: 1 };
      this.#turnedName = name;
    } else if (name === this.#turnedName && at === first + size * count && this.length === at + size) {
      this.#turn = { at: first, size, count: count + 1 };
    }
  }

  uint16(value: number): void {
    this.#room(2);
    this.length = this.#buffer.writeUInt16BE(value, this.length);
  }

  uint32(value: number): void {
    this.#room(4);
    this.length = this.#buffer.writeUInt32BE(value >>> 0, this.length);
  }

  #record(record: DnsRecord): void {
    this.#ownerName(record.name);
    this.uint16(record.type);
    this.uint16(CLASS_IN);
    this.uint32(record.ttl);
    const at = this.length;
    this.uint16(0);
    this.#data(record);
    this.#buffer.writeUInt16BE(this.length - at - 2, at);
  }

  #ownerName(name: string): void {
    if (name === this.#owner && this.#pointer !== 0) {
      this.uint16(this.#pointer);
      return;
    }
    const at = this.length;
    this.name(name);
    const first = this.#buffer.readUInt16BE(at);
    this.#owner = name;
    this.#pointer = first >= POINTER ? first : at <= MOST_POINTED && name !== '' ? POINTER | at : 0;
  }

  name(name: string): void {
    for (let rest = wireName(name); ; rest = rest.subarray(rest[0]! + 1)) {
      const known = this.#known.get(suffixKey(rest));
      if (known !== undefined && rest[0] !== 0) {
        this.uint16(POINTER | known);
        return;
      }
      this.#label(rest);
      if (rest[0] === 0) return;
    }
  }

  /** RFC 2782: the target of SRV is written out. What the question's name ends with too takes its letters' case when that is known. */
  #wholeName(name: string): void {
    let isEcho = false;
    for (let rest = wireName(name); ; rest = rest.subarray(rest[0]! + 1)) {
      const known = this.#known.get(suffixKey(rest));
      if (!isEcho && rest[0] !== 0 && known !== undefined && known < this.#questionEnd) {
        this.echoes.push({ at: this.length, from: known, length: rest.length });
        isEcho = true;
      }
      this.#label(rest);
      if (rest[0] === 0) return;
    }
  }

  /** The first label of `rest`. */
  #label(rest: Buffer): void {
    const suffix = suffixKey(rest);
    if (this.length <= MOST_POINTED && !this.#known.has(suffix)) this.#known.set(suffix, this.length);
    this.#copy(rest.subarray(0, rest[0]! + 1));
  }

  #data(record: DnsRecord): void {
    if ('raw' in record) {
      this.#copy(record.raw);
      return;
    }
    switch (record.type) {
      case TYPE.A:
        this.uint32(parseIPv4(record.ip) ?? 0);
        break;
      case TYPE.AAAA:
        for (const group of parseIPv6(record.ip) ?? []) this.uint16(group);
        break;
      case TYPE.NS:
      case TYPE.CNAME:
      case TYPE.PTR:
        this.name(record.target);
        break;
      case TYPE.TXT:
        this.#text(record.text);
        break;
      case TYPE.SRV:
        for (const value of [record.priority, record.weight, record.port]) this.uint16(value);
        this.#wholeName(record.target);
        break;
      case TYPE.SOA:
        this.name(record.primary);
        this.name(record.mailbox);
        this.serialAt = this.length;
        for (const value of [record.serial, record.refresh, record.retry, record.expire, record.minimum])
          this.uint32(value);
    }
  }

  #text(text: string): void {
    const bytes = Buffer.from(text);
    this.#copy(Buffer.concat([Buffer.of(bytes.length), bytes]));
  }

  #copy(bytes: Buffer): void {
    this.#room(bytes.length);
    bytes.copy(this.#buffer, this.length);
    this.length += bytes.length;
  }

  #room(bytes: number): void {
    if (this.length + bytes <= this.#buffer.length) return;
    const larger = Buffer.alloc(Math.max(this.#buffer.length * 2, this.length + bytes));
    this.#buffer.copy(larger);
    this.#buffer = larger;
  }
}
