/** The elements of the kernel's sets that carry an object. Pure. */

import type { IPFamily } from '../../net/ip.ts';
import { hostWord } from '../../netfilter/attributes.ts';
import type { Element } from '../../netfilter/messages.ts';
import { addressBytes, endpointBytes, frontendBytes } from './bytes.ts';
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

/** All but the endpoints. */
function traitElements(frontend: Buffer, object: Frontend): SetElement[] {
  const { chain, inside, source, refusal, learner, allowed = [], hairpins = [], service } = object;
  const to = (set: string, target: string | undefined, comment?: string): SetElement[] => {
    if (target === undefined) return [];
    const data = { kind: 'goto', chain: target } as const;
    return [{ set, key: frontend, data, ...(comment === undefined ? {} : { comment }) }];
  };
  return [
    ...allowed.map(range => allowedElement(frontend, range)),
    ...hairpins.map(ip => ({ set: SETS.hairpins, key: hairpinKey(frontend, ip) })),
    ...to(SETS.inside, inside?.chain),
    ...to(SETS.external, source),
    ...to(SETS.learners, learner),
    ...to(SETS.refused, refusal, service),
    ...to(SETS.services, chain, service),
  ];
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
