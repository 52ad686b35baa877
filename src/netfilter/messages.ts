/**
 * The messages of nf_tables: tables, chains, rules, sets, elements and the batches that carry them, to bytes and back. Pure. Source:
 * include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h; comments are libnftnl's TLVs (libnftnl/udata.h), as nft prints them.
 */
import { hostWord, type MessageWriter } from './attributes.ts';
import { type Expression, type Verdict, writeData, writeExpressions } from './expressions.ts';

const SUBSYSTEM = 10;
/** enum nf_tables_msg_types, with the subsystem. */
export const NFT = {
  newTable: (SUBSYSTEM << 8) | 0,
  getTable: (SUBSYSTEM << 8) | 1,
  delTable: (SUBSYSTEM << 8) | 2,
  newChain: (SUBSYSTEM << 8) | 3,
  getChain: (SUBSYSTEM << 8) | 4,
  delChain: (SUBSYSTEM << 8) | 5,
  newRule: (SUBSYSTEM << 8) | 6,
  getRule: (SUBSYSTEM << 8) | 7,
  delRule: (SUBSYSTEM << 8) | 8,
  newSet: (SUBSYSTEM << 8) | 9,
  getSet: (SUBSYSTEM << 8) | 10,
  delSet: (SUBSYSTEM << 8) | 11,
  newElement: (SUBSYSTEM << 8) | 12,
  getElement: (SUBSYSTEM << 8) | 13,
  delElement: (SUBSYSTEM << 8) | 14,
  newGeneration: (SUBSYSTEM << 8) | 15,
  getGeneration: (SUBSYSTEM << 8) | 16,
} as const;
const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;

export const REQUEST = 1;
export const ACK = 4;
export const DUMP = 0x300;
const CREATE = 0x400;
const APPEND = 0x800;

/** enum nft_table_flags. Owner: the table goes with the netlink socket that made it, and only that one changes it (Linux 5.12). */
export const TABLE_FLAGS = { owner: 2 } as const;
/** enum nft_set_flags */
export const SET = { interval: 4, map: 8, timeout: 16, dynamic: 32, concatenation: 128 } as const;
/** Of nft, for printing (its enum datatypes): the kernel only stores them. */
export const TYPE = { ipv4: 7, ipv6: 8, mac: 9, protocol: 12, port: 13, mark: 19, ifname: 41 } as const;
/** NFTNL_UDATA_TABLE_COMMENT, NFTNL_UDATA_RULE_COMMENT, NFTNL_UDATA_SET_ELEM_COMMENT; NFTNL_UDATA_SET_COMMENT */
const COMMENT = 0;
export const SET_COMMENT = 7;
/** NFTNL_UDATA_SET_KEYBYTEORDER, and nft's BYTEORDER_HOST_ENDIAN. */
const KEY_BYTE_ORDER = 0;
const HOST_ORDER = 1;
/** NFT_DATA_VERDICT */
export const VERDICT_TYPE = 0xffffff00;
/** NFT_SET_ELEM_INTERVAL_END, NFT_SET_ELEM_CATCHALL */
export const INTERVAL_END = 1;
const CATCHALL = 2;
/** NFTNL_UDATA_COMMENT_MAXLEN, with the closing NUL. */
const COMMENT_BYTES = 128;

/** A field of a key or a value: one of TYPE, and its bytes before they are padded to whole registers. */
export interface Field {
  readonly type: number;
  readonly bytes: number;
}

export interface SetSpec {
  readonly name: string;
  /** Of SET. */
  readonly flags: number;
  readonly key: readonly Field[];
  /** Of a map. */
  readonly value?: readonly Field[] | 'verdict';
  readonly comment?: string;
  /** The key is no number in network byte order: nft prints it wrongly without being told. A set has this or a comment. */
  readonly isHostOrder?: boolean;
  /** The most elements; absent = no limit. */
  readonly size?: number;
}

export interface BaseChain {
  readonly type: 'nat' | 'filter';
  /** enum nf_inet_hooks */
  readonly hook: number;
  readonly priority: number;
  /** What becomes of packets that no rule decides; absent = they are accepted. */
  readonly policy?: 'drop';
}

export interface RuleSpec {
  readonly expressions: readonly Expression[];
  readonly comment?: string;
}

export interface Element {
  /** Fields one after the other, each padded to four bytes; empty for the one that stands for all others. */
  readonly key: Buffer;
  /** Of a set with intervals: the end of each field's. */
  readonly keyEnd?: Buffer;
  /** Of a set with intervals and a single field: ranges are told by two elements, this one being the first key behind the range. */
  readonly isEnd?: boolean;
  readonly data?: Buffer | Verdict;
  readonly comment?: string;
}

/** The bytes of a key or a value as the registers hold it. */
export function registerBytes(fields: readonly Field[]): number {
  return fields.reduce((sum, { bytes }) => sum + ((bytes + 3) & ~3), 0);
}

/** Writes the messages of one table, each with the next sequence number. */
export class BatchWriter {
  readonly out: MessageWriter;
  readonly #family: number;
  readonly #table: string;
  #sequence: number;

  constructor(out: MessageWriter, { family, table, sequence }: { family: number; table: string; sequence: number }) {
    this.out = out;
    this.#family = family;
    this.#table = table;
    this.#sequence = sequence;
  }

  /** Of the message that was written last. */
  get sequence(): number {
    return this.#sequence;
  }

  beginBatch(): void {
    this.#bracket(BATCH_BEGIN);
  }

  endBatch(): void {
    this.#bracket(BATCH_END);
  }

  /** A table that is at work: one that somebody made dormant wakes up. `flags`: of TABLE_FLAGS. */
  newTable(comment?: string, flags = 0): void {
    this.#begin(NFT.newTable, CREATE);
    this.out.u32(2, flags);
    if (comment !== undefined) this.#comment(6, comment);
    this.out.end();
  }

  delTable(): void {
    this.#begin(NFT.delTable);
    this.out.end();
  }

  newChain(name: string, base?: BaseChain): void {
    this.#begin(NFT.newChain, CREATE);
    this.out.text(3, name);
    if (base !== undefined) {
      const hook = this.out.nest(4);
      this.out.u32(1, base.hook);
      this.out.u32(2, base.priority);
      this.out.close(hook);
      this.out.u32(5, base.policy === 'drop' ? 0 : 1);
      this.out.text(7, base.type);
    }
    this.out.end();
  }

  delChain(name: string): void {
    this.#begin(NFT.delChain);
    this.out.text(3, name);
    this.out.end();
  }

  newRule(chain: string, { expressions, comment }: RuleSpec): void {
    this.#begin(NFT.newRule, CREATE | APPEND);
    this.out.text(2, chain);
    writeExpressions(this.out, 4, expressions);
    if (comment !== undefined) this.#comment(7, comment);
    this.out.end();
  }

  /** Deletes all rules of a chain. */
  flushChain(chain: string): void {
    this.#begin(NFT.delRule);
    this.out.text(2, chain);
    this.out.end();
  }

  newSet({ name, flags, key, value, comment, isHostOrder, size }: SetSpec, id: number): void {
    const { out } = this;
    this.#begin(NFT.newSet, CREATE);
    out.text(2, name);
    out.u32(3, flags | (value === undefined ? 0 : SET.map));
    out.u32(4, typeNumber(key));
    out.u32(5, registerBytes(key));
    if (value !== undefined) {
      out.u32(6, value === 'verdict' ? VERDICT_TYPE : typeNumber(value));
      out.u32(7, value === 'verdict' ? 16 : registerBytes(value));
    }
    this.#description(key, size, (flags & SET.interval) !== 0 && key.length > 1);
    out.u32(10, id);
    if (comment !== undefined) out.userText(13, SET_COMMENT, cutComment(comment));
    else if (isHostOrder === true) out.raw(13, Buffer.concat([Buffer.of(KEY_BYTE_ORDER, 4), hostWord(HOST_ORDER)]));
    out.end();
  }

  delSet(name: string): void {
    this.#begin(NFT.delSet);
    this.out.text(2, name);
    this.out.end();
  }

  /** Deletes all elements of a set. */
  flushSet(name: string): void {
    this.#begin(NFT.delElement);
    this.out.text(2, name);
    this.out.end();
  }

  /** Begins a message of elements: then `element`, any number of times, then `endElements`. */
  beginElements(type: typeof NFT.newElement | typeof NFT.delElement, set: string): number {
    this.#begin(type, type === NFT.newElement ? CREATE : 0);
    this.out.text(2, set);
    return this.out.nest(3);
  }

  /** An element; for its deletion the key is enough. */
  element({ key, keyEnd, isEnd, data, comment }: Element): void {
    const { out } = this;
    const element = out.nest(1);
    if (key.length === 0) out.u32(3, CATCHALL);
    else if (isEnd === true) out.u32(3, INTERVAL_END);
    if (key.length > 0) writeData(out, 1, key);
    if (data !== undefined) writeData(out, 2, data);
    if (comment !== undefined) this.#comment(6, comment);
    if (keyEnd !== undefined) writeData(out, 10, keyEnd);
    out.close(element);
  }

  endElements(list: number): void {
    this.out.close(list);
    this.out.end();
  }

  /** A request for everything of one kind; elements are asked for by their set. */
  dump(type: number, set?: string): void {
    this.#begin(type, DUMP);
    if (set !== undefined) this.out.text(2, set);
    this.out.end();
  }

  /** A request for the one element with this key, which is acknowledged. */
  find(set: string, key: Buffer): void {
    this.#begin(NFT.getElement, ACK);
    this.out.text(2, set);
    const list = this.out.nest(3);
    this.element({ key });
    this.endElements(list);
  }

  #begin(type: number, flags = 0): void {
    this.#sequence += 1;
    this.out.begin({ type, flags: REQUEST | flags, sequence: this.#sequence, family: this.#family });
    this.out.text(1, this.#table);
  }

  #comment(type: number, text: string): void {
    this.out.userText(type, COMMENT, cutComment(text));
  }

  #bracket(type: number): void {
    this.#sequence += 1;
    this.out.begin({ type, flags: REQUEST, sequence: this.#sequence, family: 0, resource: SUBSYSTEM });
    this.out.end();
  }

  #description(key: readonly Field[], size: number | undefined, hasFields: boolean): void {
    if (size === undefined && !hasFields) return;
    const { out } = this;
    const description = out.nest(9);
    if (size !== undefined) out.u32(1, size);
    if (hasFields) {
      const list = out.nest(2);
      for (const { bytes } of key) {
        const field = out.nest(1);
        out.u32(1, bytes);
        out.close(field);
      }
      out.close(list);
    }
    out.close(description);
  }
}

/** nft's number for a concatenation: six bits a field. */
function typeNumber(fields: readonly Field[]): number {
  return fields.reduce((number, { type }) => number * 64 + type, 0);
}

/** A comment, cut where nft's limit is; an ellipsis says so. */
export function cutComment(text: string): string {
  const room = COMMENT_BYTES - 1;
  return text.length <= room ? text : `${text.slice(0, room - 3)}...`;
}
