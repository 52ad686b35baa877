/** The elements of the kernel's sets that carry an object. Pure. */

import { addressBytes } from '../../net/address-bytes.ts';
import type { IPFamily } from '../../net/ip.ts';
import { hostWord, writeHostWord } from '../../netfilter/attributes.ts';
import type { Element } from '../../netfilter/messages.ts';
import { endpointBytes, frontendBytes, writeEndpoint } from './bytes.ts';
import { INSIDE_SLOTS, SETS } from './names.ts';
import type { Frontend, NftObject, Pool } from './objects.ts';
import { maskBytes } from './sources.ts';

export interface SetElement extends Element {
  readonly set: string;
}

/** All elements of an object. */
export function elementsOf(object: NftObject, family: IPFamily): SetElement[] {
  switch (object.kind) {
    case 'frontend': {
      const frontend = frontendBytes(object.where, family);
      return [...slotElements(frontend, object), ...traitElements(frontend, object)];
    }
    case 'cluster-ip':
      return [{ set: SETS.clusterIPs, key: addressBytes(object.ip), comment: object.service }];
    case 'members':
      return object.endpoints.map(text => ({ set: object.set, key: endpointBytes(text) }));
    case 'strange': {
      const { set, key: bytes, keyEnd } = object;
      return [{ set, key: bytes, ...(keyEnd === undefined ? {} : { keyEnd }) }];
    }
    case 'table':
    case 'chain':
    case 'set':
      return [];
  }
}

/** Some elements of an object: those in one set, MOST_IN_RANGE of them from one on. For `endpoints`, that is a slot. */
export interface ElementRange {
  readonly object: NftObject;
  readonly set: string;
  readonly from: number;
}

/** As a message, they are less than the 64 kB that the length of a list can say. */
const MOST_IN_RANGE = 256;

/**
 * All elements of an object as ranges, whose bytes are made only when they are written: a cold start has hundreds of thousands of elements, and what lives
 * until all of them are known costs the collector more than it costs to make.
 */
export function rangesOf(object: NftObject): ElementRange[] {
  const ranges: ElementRange[] = [];
  const add = (set: string, count: number, first = 0) => {
    for (let at = 0; at < count; at += MOST_IN_RANGE) ranges.push({ object, set, from: first + at });
  };
  if (object.kind === 'frontend') {
    add(SETS.endpoints, object.endpoints.length);
    add(SETS.endpoints, object.inside?.endpoints.length ?? 0, INSIDE_SLOTS);
    add(SETS.allowed, object.allowed?.length ?? 0);
    add(SETS.hairpins, object.hairpins?.length ?? 0);
    for (const set of TARGET_SETS) if (targetIn(set, object) !== undefined) add(set, 1);
  } else if (object.kind === 'cluster-ip') add(SETS.clusterIPs, 1);
  else if (object.kind === 'members') add(object.set, object.endpoints.length);
  return ranges;
}

/** Calls `write` with each element of a range; its bytes are valid until the next. */
export function eachElement(range: ElementRange, family: IPFamily, write: (element: Element) => void): void {
  const { object, set, from } = range;
  if (object.kind === 'frontend' && set === SETS.endpoints) {
    eachSlot(object, { from, family, write });
    return;
  }
  const elements =
    object.kind === 'frontend'
      ? traitsIn(set, frontendBytes(object.where, family), object)
      : elementsOf(object, family);
  const end = Math.min(from + MOST_IN_RANGE, elements.length);
  for (let at = from; at < end; at += 1) write(elements[at]!);
}

function eachSlot(
  { where, endpoints, inside }: Frontend,
  {
    from,
    family,
    write,
  }: { readonly from: number; readonly family: IPFamily; readonly write: (element: Element) => void },
): void {
  const list = from < INSIDE_SLOTS ? endpoints : (inside?.endpoints ?? []);
  const first = from % INSIDE_SLOTS;
  const frontend = frontendBytes(where, family);
  const key = Buffer.concat([frontend, hostWord(0)]);
  const data = Buffer.alloc(frontend.length - 4);
  const element = { key, data };
  const end = Math.min(first + MOST_IN_RANGE, list.length);
  for (let at = first; at < end; at += 1) {
    const text = list[at]!;
    if (text === '') continue;
    writeHostWord(key, from - first + at, frontend.length);
    writeEndpoint(data, text);
    write(element);
  }
}

export interface ElementChanges {
  readonly added: readonly SetElement[];
  readonly deleted: readonly SetElement[];
}

/** What takes an object's elements from `before` to `after`. Slots are compared as text: most stay as they are. */
export function changedElements(
  { before, after }: { readonly before: NftObject; readonly after: NftObject },
  family: IPFamily,
): ElementChanges {
  if (before.kind !== 'frontend' || after.kind !== 'frontend') {
    return compared(elementsOf(before, family), elementsOf(after, family));
  }
  const frontend = frontendBytes(after.where, family);
  const slots = [
    changedSlots(frontend, { before, after, first: 0 }),
    changedSlots(frontend, { before: before.inside ?? NO_POOL, after: after.inside ?? NO_POOL, first: INSIDE_SLOTS }),
  ];
  const traits = compared(traitElements(frontend, before), traitElements(frontend, after));
  return {
    deleted: [...slots.flatMap(({ deleted }) => deleted), ...traits.deleted],
    added: [...slots.flatMap(({ added }) => added), ...traits.added],
  };
}

const NO_POOL: Pool = { endpoints: [] };

interface SlotRange {
  readonly before: Pool;
  readonly after: Pool;
  readonly first: number;
}

function changedSlots(frontend: Buffer, { before, after, first }: SlotRange): ElementChanges {
  const deleted: SetElement[] = [];
  const added: SetElement[] = [];
  for (let slot = 0; slot < Math.max(before.endpoints.length, after.endpoints.length); slot += 1) {
    const [was, is] = [before.endpoints[slot] ?? '', after.endpoints[slot] ?? ''];
    if (was === is) continue;
    if (was !== '') deleted.push(slotElement(frontend, first + slot, was));
    if (is !== '') added.push(slotElement(frontend, first + slot, is));
  }
  return { deleted, added };
}

function slotElements(frontend: Buffer, { endpoints, inside }: Frontend): SetElement[] {
  const slots = (pool: Pool, first: number) =>
    pool.endpoints.flatMap((text, i) => (text === '' ? [] : [slotElement(frontend, first + i, text)]));
  return [...slots({ endpoints }, 0), ...slots(inside ?? NO_POOL, INSIDE_SLOTS)];
}

function slotElement(frontend: Buffer, slot: number, endpoint: string): SetElement {
  return { set: SETS.endpoints, key: Buffer.concat([frontend, hostWord(slot)]), data: endpointBytes(endpoint) };
}

/** Of verdict maps, a frontend has one element each at most. */
const TARGET_SETS = [SETS.inside, SETS.external, SETS.learners, SETS.refused, SETS.services] as const;

function targetIn(set: string, { chain, inside, source, refusal, learner }: Frontend): string | undefined {
  switch (set) {
    case SETS.inside:
      return inside?.chain;
    case SETS.external:
      return source;
    case SETS.learners:
      return learner;
    case SETS.refused:
      return refusal;
    default:
      return chain;
  }
}

/** All but the endpoints. */
function traitElements(frontend: Buffer, object: Frontend): SetElement[] {
  return [SETS.allowed, SETS.hairpins, ...TARGET_SETS].flatMap(set => traitsIn(set, frontend, object));
}

function traitsIn(set: string, frontend: Buffer, object: Frontend): SetElement[] {
  if (set === SETS.allowed) return (object.allowed ?? []).map(range => allowedElement(frontend, range));
  if (set === SETS.hairpins) return (object.hairpins ?? []).map(ip => ({ set, key: hairpinKey(frontend, ip) }));
  const chain = targetIn(set, object);
  if (chain === undefined) return [];
  const element = { set, key: frontend, data: { kind: 'goto', chain } as const };
  return [set === SETS.services || set === SETS.refused ? { ...element, comment: object.service } : element];
}

function hairpinKey(frontend: Buffer, ip: string): Buffer {
  const address = addressBytes(ip);
  return Buffer.concat([address, address, frontend]);
}

function allowedElement(frontend: Buffer, range: string): SetElement {
  const [text = '', length = ''] = range.split('/');
  const first = addressBytes(text);
  const mask = maskBytes(Number(length), first.length);
  const last = Buffer.from(first.map((byte, i) => byte | (~mask[i]! & 0xff)));
  return {
    set: SETS.allowed,
    key: Buffer.concat([frontend, first]),
    keyEnd: Buffer.concat([frontend, last]),
  };
}

function compared(before: readonly SetElement[], after: readonly SetElement[]): ElementChanges {
  const known = new Map(before.map(element => [identity(element), element]));
  const added: SetElement[] = [];
  for (const element of after) {
    const id = identity(element);
    const old = known.get(id);
    if (old !== undefined && isSame(old, element)) known.delete(id);
    else added.push(element);
  }
  return { added, deleted: [...known.values()] };
}

function identity({ set, key, keyEnd }: SetElement): string {
  return `${set} ${key.toString('latin1')} ${keyEnd?.toString('latin1') ?? ''}`;
}

function isSame(a: SetElement, b: SetElement): boolean {
  return a.comment === b.comment && dataText(a) === dataText(b);
}

function dataText({ data }: SetElement): string {
  if (data === undefined) return '';
  return data instanceof Uint8Array ? data.toString('latin1') : `${data.kind} ${data.chain ?? ''}`;
}
