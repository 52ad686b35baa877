/** Tables that are written whole, beside the proxy's own: their structure and elements as one transaction. */

import type { NftKernel } from '../../linux/nf-tables.ts';
import { MessageWriter } from '../../netfilter/attributes.ts';
import type { ExpressionName } from '../../netfilter/expressions.ts';
import { BatchWriter, type Element, NFT } from '../../netfilter/messages.ts';
import { dump, elementsOf, untilWhole } from './dumps.ts';
import type { ChainObject, PlannedRule, SetObject } from './objects.ts';
import { type NftFamily, protocolOf } from './packet.ts';

/** A table with everything in it, to be written as one transaction. */
export interface TableSpec {
  readonly name: string;
  readonly family: NftFamily;
  readonly comment: string;
  /** Of TABLE_FLAGS. */
  readonly flags: number;
  readonly sets: readonly FilledSet[];
  readonly chains: readonly ChainObject[];
}

export interface FilledSet extends SetObject {
  /** The keys that it has; absent = others write them. */
  readonly keys?: readonly Buffer[];
}

/** What a transaction was refused for. */
export interface BatchRefusal {
  /** `the set pods (IPv4)`, `a transaction` when the kernel doesn't say. */
  readonly subject: string;
  readonly errno: number;
}

/** Bytes of one message of elements; the length of a list is told in 16 bits. */
const MESSAGE_BYTES = 30_000;

/** Whether a table has all its rules and the elements that are listed for it, as far as the kernel's counts tell. */
export async function isTableIntact(
  kernel: NftKernel,
  { name: table, family, sets, chains }: TableSpec,
): Promise<boolean> {
  const rules = await untilWhole(() => dump(kernel, { type: NFT.getRule, family, table }));
  if (rules.length !== chains.reduce((sum, chain) => sum + chain.rules.length, 0)) return false;
  for (const { spec, keys } of sets) {
    if (keys === undefined) continue;
    const found = await untilWhole(() => elementsOf(kernel, { family, table, set: spec.name }));
    const texts = new Set(found.map(({ key }) => key.toString('hex')));
    if (texts.size !== keys.length || keys.some(key => !texts.has(key.toString('hex')))) return false;
  }
  return true;
}

/** What of a rule a kernel may be built without. */
function needs({ expressions }: PlannedRule): string[] {
  const names = expressions.map(({ name }) => name);
  return [...new Set(names)].filter(name => !ALWAYS_THERE.has(name));
}

const ALWAYS_THERE: ReadonlySet<ExpressionName> = new Set(['payload', 'meta', 'cmp', 'bitwise', 'immediate', 'lookup']);

type TablePlace = Pick<TableSpec, 'name' | 'family'>;

/** A transaction that may concern several tables. */
export class TableBatch {
  readonly #out = new MessageWriter();
  /** What each message is about, by its sequence number. */
  readonly #subjects = new Map<number, string>();
  #sequence: number;

  constructor() {
    const first = this.#writer({ name: '', family: 'IPv4' }, 0);
    first.beginBatch();
    this.#sequence = first.sequence;
  }

  /** `isAnew`: what the table has is lost, also what rules wrote into its sets. Otherwise chains and listed elements become those of `spec`, and the rest stays. */
  table(spec: TableSpec, isAnew: boolean): void {
    const to = this.#writer(spec);
    const note = (subject: string) => this.#subjects.set(to.sequence, `${subject} (${spec.family})`);
    const isOwned = spec.flags === 0 ? '' : ' that goes with its process, which takes Linux 5.12';
    for (let left = isAnew ? 2 : 1; left > 0; left -= 1) {
      if (left === 1 && isAnew) to.delTable();
      to.newTable(spec.comment, spec.flags);
      note(`a table${isOwned}`);
    }
    for (const [index, set] of spec.sets.entries()) {
      to.newSet(set.spec, index + 1);
      note(`the set ${set.spec.name}`);
    }
    for (const { name, base } of spec.chains) {
      to.newChain(name, base);
      note(`the chain ${name}`);
    }
    for (const { name, rules } of spec.chains) {
      to.flushChain(name);
      for (const rule of rules) {
        to.newRule(name, rule);
        note(`a rule with ${needs(rule).join(', ')}`);
      }
    }
    this.#sequence = to.sequence;
    for (const { spec: set, keys } of spec.sets) {
      if (keys === undefined) continue;
      this.flush(spec, set.name);
      this.elements(
        'add',
        spec,
        set.name,
        keys.map(key => ({ key })),
      );
    }
  }

  /** Takes a table away, whether or not it is there. */
  removeTable(table: TablePlace): void {
    const to = this.#writer(table);
    to.newTable();
    to.delTable();
    this.#sequence = to.sequence;
  }

  /** Empties a set. */
  flush(table: TablePlace, set: string): void {
    const to = this.#writer(table);
    to.flushSet(set);
    this.#sequence = to.sequence;
  }

  /** Adds elements, or deletes them by their keys. */
  elements(kind: 'add' | 'delete', table: TablePlace, set: string, elements: readonly Element[]): void {
    const to = this.#writer(table);
    for (let at = 0; at < elements.length; ) {
      const list = to.beginElements(kind === 'add' ? NFT.newElement : NFT.delElement, set);
      this.#subjects.set(to.sequence, `elements of ${set} (${table.family})`);
      const most = this.#out.length + MESSAGE_BYTES;
      for (; at < elements.length && this.#out.length < most; at += 1) {
        const element = elements[at]!;
        to.element(kind === 'add' ? element : keyOnly(element));
      }
      to.endElements(list);
    }
    this.#sequence = to.sequence;
  }

  /** Resolves to why nothing was committed; undefined when all of it was. Rejects when the kernel can't be asked. */
  async commit(kernel: NftKernel): Promise<BatchRefusal | undefined> {
    this.#writer({ name: '', family: 'IPv4' }).endBatch();
    const [refusal] = await kernel.commit(this.#out.bytes());
    if (refusal === undefined) return undefined;
    return { subject: this.#subjects.get(refusal.sequence) ?? 'a transaction', errno: refusal.errno };
  }

  #writer({ name, family }: TablePlace, sequence = this.#sequence): BatchWriter {
    return new BatchWriter(this.#out, { family: protocolOf(family), table: name, sequence });
  }
}

function keyOnly({ key, keyEnd, isEnd }: Element): Element {
  return { key, ...(keyEnd === undefined ? {} : { keyEnd }), ...(isEnd === undefined ? {} : { isEnd }) };
}
