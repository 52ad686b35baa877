/** The steps that make changes true, in an order in which every prefix of them leaves working rules. Pure. */
import type { IPFamily } from '../../net/ip.ts';
import { type BatchWriter, type Element, NFT } from '../../netfilter/messages.ts';
import type { Changes } from '../backend.ts';
import { changedElements, type ElementRange, eachElement, elementsOf, rangesOf, type SetElement } from './elements.ts';
import { SETS } from './names.ts';
import type { ChainObject, NftObject, SetObject } from './objects.ts';

export interface ElementStep {
  readonly kind: 'add' | 'delete';
  readonly key: string;
  readonly element: SetElement;
  /** The next step belongs to the same transaction: what is deleted here is added there. */
  readonly isTied?: boolean;
}

/** Elements of a new object. */
interface RangeStep {
  readonly kind: 'add-range';
  readonly key: string;
  readonly range: ElementRange;
}

type StructureStep =
  | { readonly kind: 'delete-table' | 'new-table'; readonly key: string }
  | { readonly kind: 'new-set'; readonly key: string; readonly set: SetObject }
  | { readonly kind: 'new-chain'; readonly key: string; readonly chain: ChainObject }
  | { readonly kind: 'rules'; readonly key: string; readonly chain: ChainObject; readonly isNew: boolean }
  | { readonly kind: 'delete-chain' | 'delete-set' | 'flush-chain'; readonly key: string; readonly name: string };

/**
 * The steps in parts that each are a transaction, or more where one would be too large.
 * 1. New chains come before what leads to them. A packet takes the rules of the generation in which it came (nft_do_chain of net/netfilter/nf_tables_core.c),
 *    but elements of that in which it asks for them; of a chain that came with its elements it has no rules then, and is sent to no endpoint.
 * 2. All that isn't late.
 * 3. What is late: see isLate.
 */
export function transactionsOf(steps: readonly Step[]): readonly (readonly Step[])[] {
  const isNew = steps.some(({ kind }) => kind === 'new-table');
  const hasNewChain = steps.some(({ kind }) => kind === 'new-chain');
  const leading = isNew || !hasNewChain ? 0 : indexOr(steps, step => !isStructure(step));
  const late = indexOr(steps, isLate);
  return [steps.slice(0, leading), steps.slice(leading, late), steps.slice(late)].filter(part => part.length > 0);
}

function indexOr(steps: readonly Step[], is: (step: Step) => boolean): number {
  const at = steps.findIndex(is);
  return at === -1 ? steps.length : at;
}

/**
 * Whether a step needs a transaction after that of the steps before it. Chains and sets: kernels before 6.2 count what the same transaction stops using as
 * in use. Hairpins: a packet that was sent to its own pod before that stopped to be an endpoint is still on its way to the hook where its source is
 * rewritten.
 */
function isLate(step: Step): boolean {
  if (step.kind === 'delete') return step.element.set === SETS.hairpins && step.isTied !== true;
  return step.kind === 'delete-chain' || step.kind === 'delete-set';
}

export type Step = ElementStep | RangeStep | StructureStep;

/**
 * Everything anew, the table as well: where a set has another form than ours (an earlier version's), rules refer to it, and the kernel neither changes nor
 * deletes it.
 */
export function rebuildingSteps(plan: ReadonlyMap<string, NftObject>, family: IPFamily): Step[] {
  const created = stepsOf({ created: plan, updated: new Map(), deleted: new Map() }, family);
  return [{ kind: 'delete-table', key: 'table' }, ...created];
}

/**
 * Sets, chains, rules; endpoints and all that isn't the entrance; the entrances of Services; what isn't reached any more; chains and sets that nothing
 * refers to now. An element that is replaced is deleted and added in neighbouring steps.
 */
export function stepsOf(changes: Changes<NftObject>, family: IPFamily): Step[] {
  const steps = new OrderedSteps();
  for (const [key, object] of changes.created) {
    steps.structure(key, object);
    for (const range of rangesOf(object)) steps.addNew(key, range);
  }
  for (const [key, { before, after }] of changes.updated) {
    steps.structure(key, after, before);
    const { deleted, added } = changedElements({ before, after }, family);
    steps.change(key, deleted, added);
  }
  for (const [key, object] of changes.deleted) {
    for (const element of elementsOf(object, family)) steps.remove(key, element);
    steps.dismantle(key, object);
  }
  return steps.all();
}

class OrderedSteps {
  readonly #sets: Step[] = [];
  readonly #chains: Step[] = [];
  readonly #rules: Step[] = [];
  readonly #added = new Map<string, Step[]>();
  readonly #inner: Step[] = [];
  readonly #entrances: Step[] = [];
  readonly #closed: Step[] = [];
  readonly #unused: Step[] = [];
  readonly #flushed: Step[] = [];
  readonly #late: Step[] = [];
  readonly #gone: Step[] = [];

  all(): Step[] {
    const opened = this.#added.get(SETS.services) ?? [];
    this.#added.delete(SETS.services);
    return [
      this.#sets,
      this.#chains,
      this.#rules,
      ...this.#added.values(),
      this.#inner,
      this.#entrances,
      opened,
      this.#closed,
      this.#unused,
      this.#flushed,
      this.#late,
      this.#gone,
    ].flat();
  }

  structure(key: string, object: NftObject, before?: NftObject): void {
    if (object.kind === 'table') this.#sets.unshift({ kind: 'new-table', key });
    if (object.kind === 'set') this.#sets.push({ kind: 'new-set', key, set: object });
    if (object.kind !== 'chain') return;
    if (before === undefined) this.#chains.push({ kind: 'new-chain', key, chain: object });
    this.#rules.push({ kind: 'rules', key, chain: object, isNew: before === undefined });
  }

  dismantle(key: string, object: NftObject): void {
    if (object.kind === 'chain') {
      this.#flushed.push({ kind: 'flush-chain', key, name: object.name });
      this.#gone.push({ kind: 'delete-chain', key, name: object.name });
    }
    if (object.kind === 'set') this.#gone.push({ kind: 'delete-set', key, name: object.spec.name });
  }

  /** Set by set: what follows each other is one message. */
  addNew(key: string, range: ElementRange): void {
    const found = this.#added.get(range.set) ?? [];
    if (found.length === 0) this.#added.set(range.set, found);
    found.push({ kind: 'add-range', key, range });
  }

  remove(key: string, element: SetElement): void {
    this.#outOf(element).push({ kind: 'delete', key, element });
  }

  change(key: string, deleted: readonly SetElement[], added: readonly SetElement[]): void {
    const replaced = new Set(added.map(placeOf));
    const old = new Map(deleted.map(element => [placeOf(element), element]));
    for (const element of deleted) {
      if (replaced.has(placeOf(element))) continue;
      // Ranges that overlap are refused: the old ones go before the new ones come, in the same transaction.
      if (element.set === SETS.allowed) this.#inner.push({ kind: 'delete', key, element, isTied: true });
      else this.remove(key, element);
    }
    for (const list of [this.#inner, this.#entrances]) {
      const here = added.filter(element => this.#into(element) === list);
      for (let at = 0; at < here.length; at += TOGETHER)
        list.push(...replacing(key, here.slice(at, at + TOGETHER), old));
    }
  }

  #outOf({ set }: SetElement): Step[] {
    if (set === SETS.services) return this.#closed;
    return set === SETS.hairpins ? this.#late : this.#unused;
  }

  #into({ set }: SetElement): Step[] {
    return set === SETS.services ? this.#entrances : this.#inner;
  }
}

/** Elements of one object that are replaced together, so that many of them share a message. */
const TOGETHER = 256;

/** Deletes what is there of `added`, then adds them, all in one transaction. */
function replacing(
  key: string,
  added: readonly SetElement[],
  old: ReadonlyMap<string, SetElement>,
): readonly ElementStep[] {
  const gone = added.flatMap(element => old.get(placeOf(element)) ?? []);
  const steps: ElementStep[] = [
    ...gone.map(element => ({ kind: 'delete', key, element }) as const),
    ...added.map(element => ({ kind: 'add', key, element }) as const),
  ];
  return gone.length === 0 ? steps : steps.map((step, i) => (i < steps.length - 1 ? { ...step, isTied: true } : step));
}

function placeOf({ set, key, keyEnd }: SetElement): string {
  return `${set} ${key.toString('latin1')} ${keyEnd?.toString('latin1') ?? ''}`;
}

/** Bytes of one message of elements; the length of a list is told in 16 bits. */
const MESSAGE_BYTES = 30_000;

/**
 * Writes steps from `from` on until `limit` bytes are reached; the index of the first that isn't written. Elements of one set
 * that follow each other are one message. What replaces an element is never left to another batch.
 */
export function writeSteps(
  out: BatchWriter,
  steps: readonly Step[],
  { from, limit, family }: { readonly from: number; readonly limit: number; readonly family: IPFamily },
): number {
  let at = from;
  while (at < steps.length && (at === from || out.out.length < limit || isTied(steps[at - 1]))) {
    const step = steps[at]!;
    if (isStructure(step)) {
      writeStructure(out, step, at);
      at += 1;
    } else at = writeElements(out, steps, at, family);
  }
  return at;
}

function isTied(step: Step | undefined): boolean {
  return step !== undefined && 'element' in step && step.isTied === true;
}

/** One message: the elements from `from` on that go into one set, or out of it. */
function writeElements(out: BatchWriter, steps: readonly Step[], from: number, family: IPFamily): number {
  const first = steps[from]!;
  const set = setOf(first);
  if (set === undefined) return from;
  const isAdding = first.kind !== 'delete';
  const list = out.beginElements(isAdding ? NFT.newElement : NFT.delElement, set);
  const most = out.out.length + MESSAGE_BYTES;
  const write = (element: Element) => out.element(element);
  let at = from;
  for (; at < steps.length && out.out.length < most; at += 1) {
    const step = steps[at]!;
    if (setOf(step) !== set || isAdding !== (step.kind !== 'delete')) break;
    if (step.kind === 'add-range') eachElement(step.range, family, write);
    else if (step.kind === 'add') write(step.element);
    else if (step.kind === 'delete') write(keyOnly(step.element));
  }
  out.endElements(list);
  return at;
}

function isStructure(step: Step): step is StructureStep {
  return !('element' in step) && !('range' in step);
}

/** Undefined of structure. */
function setOf(step: Step): string | undefined {
  if (step.kind === 'add-range') return step.range.set;
  return 'element' in step ? step.element.set : undefined;
}

function keyOnly({ key, keyEnd }: SetElement): Element {
  return keyEnd === undefined ? { key } : { key, keyEnd };
}

function writeStructure(out: BatchWriter, step: StructureStep, id: number): void {
  switch (step.kind) {
    case 'delete-table':
      out.delTable();
      break;
    case 'new-table':
      out.newTable();
      break;
    case 'new-set':
      out.newSet(step.set.spec, id + 1);
      break;
    case 'new-chain':
      out.newChain(step.chain.name, step.chain.base);
      break;
    case 'rules':
      // The policy may be another's.
      if (!step.isNew && step.chain.base !== undefined) out.newChain(step.chain.name, step.chain.base);
      if (!step.isNew) out.flushChain(step.chain.name);
      for (const rule of step.chain.rules) out.newRule(step.chain.name, rule);
      break;
    case 'flush-chain':
      out.flushChain(step.name);
      break;
    case 'delete-chain':
      out.delChain(step.name);
      break;
    case 'delete-set':
      out.delSet(step.name);
  }
}
