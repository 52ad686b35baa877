/**
 * nf_tables as far as we use it, in memory: batches are all or nothing, elements that contradict others are refused, what is referred to can't be
 * deleted. Compared with the kernel in test/integration/nf-tables.test.ts.
 */

import type { NftKernel, Refusal } from '../../src/linux/nf-tables.ts';
import { NetlinkError } from '../../src/linux/nfnetlink.ts';
import { attributesIn, type Message, MessageWriter, messagesIn, textOf } from '../../src/netfilter/attributes.ts';
import { type Expression, readExpressions } from '../../src/netfilter/expressions.ts';
import { commentOf, readElements, readSet } from '../../src/netfilter/message-reading.ts';
import {
  type BaseChain,
  BatchWriter,
  type Element,
  type Field,
  NFT,
  registerBytes,
  SET,
  type SetSpec,
} from '../../src/netfilter/messages.ts';

const ENOENT = 2;
const EBUSY = 16;
const EEXIST = 17;
const EOPNOTSUPP = 95;

interface Rule {
  readonly expressions: readonly Expression[];
  readonly comment?: string;
}

interface NftSet {
  readonly spec: SetSpec;
  readonly elements: Map<string, Element>;
}

interface Table {
  readonly comment?: string;
  readonly chains: Map<string, { readonly base?: BaseChain; readonly rules: Rule[] }>;
  readonly sets: Map<string, NftSet>;
}

export class FakeNfTables implements NftKernel {
  readonly batchBytes: number;
  #tables = new Map<string, Table>();
  /** Commits that were made. */
  commits = 0;
  /** Commits that were asked for. */
  attempts = 0;
  /**
   * Chains that a transaction makes and leads to by an element, in a table that was there before: a packet that is under way takes the rules of the
   * generation before, in which such a chain has none.
   */
  readonly unready: string[] = [];
  /** Called after each. */
  afterCommit: () => Promise<void> = async () => undefined;
  /** Elements that are refused whatever they are: by their set and comment. */
  refuses: (set: string, element: Element) => boolean = () => false;

  /** Tables that this kernel has no means for: by their family (NFPROTO_IPV4 …) and flags. */
  lacksTable: (family: number, flags: number) => boolean = () => false;

  constructor({ batchBytes = 1_000_000 }: { readonly batchBytes?: number } = {}) {
    this.batchBytes = batchBytes;
  }

  async commit(batch: Buffer): Promise<readonly Refusal[]> {
    this.attempts += 1;
    const tables = new Map([...this.#tables].map(([name, table]) => [name, copied(table)]));
    const refusals: Refusal[] = [];
    for (const message of messagesIn(Buffer.from(batch))) {
      const errno = this.#take(tables, message);
      if (errno !== 0) refusals.push({ sequence: message.sequence, errno });
    }
    if (refusals.length > 0) return refusals;
    this.#tables = tables;
    this.commits += 1;
    await this.afterCommit();
    return [];
  }

  async dump(request: Buffer): Promise<readonly Message[]> {
    const [message] = messagesIn(Buffer.from(request));
    const parts = attributesIn(message!.payload);
    const name = textOf(parts.get(1)!);
    const table = this.#tables.get(`${message!.family} ${name}`);
    if (table === undefined) throw new NetlinkError('dump', ENOENT, 'no such table');
    const out = new MessageWriter();
    const writer = new BatchWriter(out, { family: message!.family, table: name, sequence: 0 });
    const set = parts.get(2);
    if (set !== undefined && !table.sets.has(textOf(set))) throw new NetlinkError('dump', ENOENT, 'no such set');
    const wanted = parts.get(3);
    if (wanted !== undefined) {
      const [asked] = readElements(message!).elements;
      const found = asked === undefined ? undefined : elementAt(table.sets.get(textOf(set!))!, asked.key);
      if (found === undefined) throw new NetlinkError('dump', ENOENT, 'no such element');
      writeElement(writer, textOf(set!), found);
      return [...messagesIn(Buffer.from(out.bytes()))];
    }
    answer(writer, table, { type: message!.type, ...(set === undefined ? {} : { set: textOf(set) }) });
    return [...messagesIn(Buffer.from(out.bytes()))];
  }

  /** As `nft flush ruleset` by somebody else. */
  clear(): void {
    this.#tables.clear();
  }

  close(): void {
    this.refuses = () => false;
  }

  #take(tables: Map<string, Table>, message: Message): number {
    if (message.type === 0x10 || message.type === 0x11) return 0;
    const parts = attributesIn(message.payload);
    const id = `${message.family} ${textOf(parts.get(1)!)}`;
    if (message.type === NFT.newTable) {
      if (this.lacksTable(message.family, parts.get(2)?.readUInt32BE(0) ?? 0)) return EOPNOTSUPP;
      const comment = commentOf(parts.get(6));
      const fields = comment === undefined ? {} : { comment };
      if (!tables.has(id)) tables.set(id, { chains: new Map(), sets: new Map(), ...fields });
      return 0;
    }
    if (message.type === NFT.delTable) return tables.delete(id) ? 0 : ENOENT;
    const table = tables.get(id);
    if (table === undefined) return ENOENT;
    return message.type === NFT.newElement || message.type === NFT.delElement
      ? this.#takeElements(table, message, this.#tables.get(id))
      : takeStructure(table, message, parts);
  }

  #takeElements(table: Table, message: Message, before: Table | undefined): number {
    const { set: name, elements } = readElements(message);
    const set = table.sets.get(name);
    if (set === undefined) return ENOENT;
    if (message.type === NFT.delElement && elements.length === 0) set.elements.clear();
    for (const element of elements) {
      if (message.type === NFT.delElement) {
        const found = elementAt(set, element.key);
        if (found === undefined) return ENOENT;
        set.elements.delete(placeOf(found));
        continue;
      }
      if (this.refuses(name, element)) return 22;
      const { data } = element;
      const target = data !== undefined && !(data instanceof Uint8Array) ? data.chain : undefined;
      if (target !== undefined && !table.chains.has(target)) return ENOENT;
      if (isRefused(set, element)) return EEXIST;
      if (target !== undefined && before?.chains.has(target) === false) this.unready.push(target);
      // One that is there already stays as it is, with its comment.
      if (!set.elements.has(placeOf(element))) set.elements.set(placeOf(element), element);
    }
    return 0;
  }
}

function placeOf({ key, keyEnd }: Element): string {
  return `${key.toString('latin1')} ${keyEnd?.toString('latin1') ?? ''}`;
}

/**
 * Whether another element is where a new one has to go. Of ranges the kernel looks at both ends of the new one: it overlooks an old one that lies
 * between them.
 */
function isRefused(set: NftSet, element: Element): boolean {
  const same = set.elements.get(placeOf(element));
  if (same !== undefined) return dataText(same) !== dataText(element);
  return elementAt(set, element.key) !== undefined || elementAt(set, element.keyEnd ?? element.key) !== undefined;
}

/** Who has a key. Among ranges that is the oldest that holds it: also a deletion goes by the beginning of a range alone. */
function elementAt({ spec, elements }: NftSet, key: Buffer): Element | undefined {
  if ((spec.flags & SET.interval) === 0) return elements.get(placeOf({ key }));
  return elements.values().find(element => isWithin(key, element, spec.key));
}

function isWithin(key: Buffer, { key: first, keyEnd: last = first }: Element, fields: readonly Field[]): boolean {
  return fields.every((field, i) => {
    const from = registerBytes(fields.slice(0, i));
    const part = (bytes: Buffer) => bytes.subarray(from, from + registerBytes([field]));
    return part(key).compare(part(first)) >= 0 && part(key).compare(part(last)) <= 0;
  });
}

function dataText({ data }: Element): string {
  if (data === undefined) return '';
  return data instanceof Uint8Array ? data.toString('hex') : JSON.stringify(data);
}

function copied({ chains, sets, ...rest }: Table): Table {
  return {
    ...rest,
    chains: new Map([...chains].map(([name, chain]) => [name, { ...chain, rules: [...chain.rules] }])),
    sets: new Map([...sets].map(([name, set]) => [name, { ...set, elements: new Map(set.elements) }])),
  };
}

function takeStructure(table: Table, message: Message, parts: Map<number, Buffer>): number {
  const text = (type: number) => textOf(parts.get(type)!);
  switch (message.type) {
    case NFT.newSet: {
      const spec = readSet(message);
      if (!table.sets.has(spec.name)) table.sets.set(spec.name, { spec, elements: new Map() });
      return 0;
    }
    case NFT.delSet:
      if (isReferred(table, expression => 'set' in expression && expression.set === text(2))) return EBUSY;
      return table.sets.delete(text(2)) ? 0 : ENOENT;
    case NFT.newChain: {
      const hook = parts.get(4);
      const values = hook === undefined ? undefined : attributesIn(hook);
      const type = values === undefined ? undefined : (text(7) as BaseChain['type']);
      const base =
        values === undefined || type === undefined
          ? {}
          : { base: { type, hook: values.get(1)!.readUInt32BE(0), priority: values.get(2)!.readInt32BE(0) } };
      if (!table.chains.has(text(3))) table.chains.set(text(3), { ...base, rules: [] });
      return 0;
    }
    case NFT.delChain:
      return deleteChain(table, text(3));
    case NFT.newRule: {
      const expressions = readExpressions(parts.get(4)!);
      const chain = table.chains.get(text(2));
      const isKnown = expressions.every(expression => isAnswered(table, expression));
      if (chain === undefined || !isKnown) return ENOENT;
      const comment = commentOf(parts.get(7));
      chain.rules.push({ expressions, ...(comment === undefined ? {} : { comment }) });
      return 0;
    }
    case NFT.delRule: {
      const chain = table.chains.get(text(2));
      if (chain === undefined) return ENOENT;
      chain.rules.length = 0;
      return 0;
    }
    default:
      throw new TypeError(`a message that isn't known here: ${message.type}`);
  }
}

function isAnswered(table: Table, expression: Expression): boolean {
  if ('set' in expression) return table.sets.has(expression.set);
  const target = targetOf(expression);
  return target === undefined || table.chains.has(target);
}

function targetOf(expression: Expression): string | undefined {
  if (expression.name !== 'immediate' || expression.data instanceof Uint8Array) return undefined;
  return expression.data.chain;
}

function isReferred(table: Table, test: (expression: Expression) => boolean): boolean {
  return [...table.chains.values()].some(({ rules }) => rules.some(({ expressions }) => expressions.some(test)));
}

function deleteChain(table: Table, name: string): number {
  const isTarget = ({ data }: Element) => data !== undefined && !(data instanceof Uint8Array) && data.chain === name;
  const isInUse =
    (table.chains.get(name)?.rules.length ?? 0) > 0 ||
    isReferred(table, expression => targetOf(expression) === name) ||
    [...table.sets.values()].some(({ elements }) => [...elements.values()].some(isTarget));
  if (isInUse) return EBUSY;
  return table.chains.delete(name) ? 0 : ENOENT;
}

function answer(writer: BatchWriter, table: Table, { type, set }: { type: number; set?: string }): void {
  if (type === NFT.getTable) writer.newTable(table.comment);
  if (type === NFT.getSet) for (const { spec } of table.sets.values()) writer.newSet(spec, 1);
  if (type === NFT.getChain) for (const [name, { base }] of table.chains) writer.newChain(name, base);
  if (type === NFT.getRule) {
    for (const [name, { rules }] of table.chains) for (const rule of rules) writer.newRule(name, rule);
  }
  if (type !== NFT.getElement || set === undefined) return;
  for (const element of table.sets.get(set)?.elements.values() ?? []) {
    writeElement(writer, set, element);
  }
}

function writeElement(writer: BatchWriter, set: string, element: Element): void {
  const list = writer.beginElements(NFT.newElement, set);
  writer.element(element);
  writer.endElements(list);
}
