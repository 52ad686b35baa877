/** Gives endpoints the slots that they have in the kernel already. Pure. */
import type { Frontend, NftObject, Pool } from './objects.ts';

/** See Backend.settle: a removal moves the last slot into the hole, nothing else; a hash's table has its own order. */
export function settle(before: NftObject, after: NftObject): NftObject {
  if (before.kind !== 'frontend' || after.kind !== 'frontend') return after;
  const settled: Frontend = { ...after, endpoints: settleSlots(before, after) };
  if (before.inside === undefined || after.inside === undefined) return settled;
  return { ...settled, inside: { ...after.inside, endpoints: settleSlots(before.inside, after.inside) } };
}

function settleSlots(before: Pool, { chain, endpoints }: Pool): readonly string[] {
  if (isHash(chain)) return endpoints;
  const wanted = new Map<string, number>();
  for (const text of endpoints) wanted.set(text, (wanted.get(text) ?? 0) + 1);
  const slots: (string | undefined)[] = new Array<undefined>(endpoints.length).fill(undefined);
  for (const [slot, text] of before.endpoints.entries()) {
    const count = wanted.get(text) ?? 0;
    if (slot >= slots.length || count === 0) continue;
    slots[slot] = text;
    wanted.set(text, count - 1);
  }
  const rest = [...wanted].flatMap(([text, count]) => new Array<string>(count).fill(text));
  return slots.map(text => text ?? rest.shift() ?? '');
}

/** Whether the place of an endpoint has a meaning. */
export function isHash(chain: string | undefined): boolean {
  return chain !== undefined && /(^|-)hash(-inside)?$/.test(chain);
}
