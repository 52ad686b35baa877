/** Writes the tables of tables.ts, each whole. */
import { dump, elementsOf, untilWhole } from '../../backends/nftables/dumps.ts';
import { errnoText } from '../../backends/nftables/errno.ts';
import type { PlannedRule } from '../../backends/nftables/objects.ts';
import { layoutOf } from '../../backends/nftables/packet.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { MessageWriter } from '../../netfilter/attributes.ts';
import type { ExpressionName } from '../../netfilter/expressions.ts';
import { BatchWriter, NFT } from '../../netfilter/messages.ts';
import type { TableSpec } from './tables.ts';

/** This kernel can't deliver a Service's packets here, or doesn't let us tell it to. What else the DNS server does needs none of this. */
export class NodeAddressError extends Error {
  override readonly name = 'NodeAddressError';
}

export interface Writing {
  readonly spec: TableSpec;
  /** What the table has is lost, also what rules wrote into its sets. Otherwise chains and listed elements become those of `spec`, and the rest stays. */
  readonly isAnew: boolean;
}

/** Makes tables be as they are described, in one transaction. @throws NodeAddressError when the kernel refuses, with what it lacks */
export async function writeTables(kernel: NftKernel, tables: readonly Writing[]): Promise<void> {
  const batch = new Batch();
  for (const table of tables) batch.table(table);
  await batch.commit(kernel);
}

/** Empties a set of a table. @throws NodeAddressError */
export async function emptySet(kernel: NftKernel, { name, family }: TableSpec, set: string): Promise<void> {
  const batch = new Batch();
  batch.flush({ name, family }, set);
  await batch.commit(kernel);
}

/** Whether a table has all its rules and the elements that are listed for it, as far as the kernel's counts tell. */
export async function isIntact(kernel: NftKernel, { name: table, family, sets, chains }: TableSpec): Promise<boolean> {
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

class Batch {
  readonly #out = new MessageWriter();
  /** What each message is about, by its sequence number. */
  readonly #subjects = new Map<number, string>();
  #sequence: number;

  constructor() {
    const first = this.#writer({ name: '', family: 'IPv4' }, 0);
    first.beginBatch();
    this.#sequence = first.sequence;
  }

  table({ spec, isAnew }: Writing): void {
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
    for (const { spec: set, keys } of spec.sets) {
      if (keys === undefined) continue;
      to.flushSet(set.name);
      const list = to.beginElements(NFT.newElement, set.name);
      for (const key of keys) to.element({ key });
      to.endElements(list);
    }
    this.#sequence = to.sequence;
  }

  flush(table: Pick<TableSpec, 'name' | 'family'>, set: string): void {
    const to = this.#writer(table);
    to.flushSet(set);
    this.#sequence = to.sequence;
  }

  async commit(kernel: NftKernel): Promise<void> {
    this.#writer({ name: '', family: 'IPv4' }).endBatch();
    const [refusal] = await kernel.commit(this.#out.bytes());
    if (refusal === undefined) return;
    const subject = this.#subjects.get(refusal.sequence) ?? 'a transaction';
    throw new NodeAddressError(`the kernel refuses ${subject}: ${errnoText(refusal.errno)}`);
  }

  #writer({ name, family }: Pick<TableSpec, 'name' | 'family'>, sequence = this.#sequence): BatchWriter {
    return new BatchWriter(this.#out, { family: layoutOf(family).protocol, table: name, sequence });
  }
}
