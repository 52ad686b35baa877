import type { Map as ImmutableMap } from 'immutable';
import type { EndpointSlice } from './objects.ts';
import type { Dirty, Snapshot } from './snapshot.ts';

/** How many objects were added, altered or removed from one snapshot to a later one; `dirty` says where to look. */
export function countChanges(
  before: Snapshot,
  after: Snapshot,
  dirty: Dirty,
): { readonly services: number; readonly endpointSlices: number } {
  let services = 0;
  let endpointSlices = 0;
  for (const key of dirty.services) {
    if (before.services.get(key) !== after.services.get(key)) services += 1;
    endpointSlices += countDifferent(before.slices.get(key), after.slices.get(key));
  }
  return { services, endpointSlices };
}

type Slices = ImmutableMap<string, EndpointSlice> | undefined;

/** What is unchanged is the same object in both. */
function countDifferent(before: Slices, after: Slices): number {
  if (before === after) return 0;
  let different = 0;
  for (const [name, slice] of after ?? []) if (before?.get(name) !== slice) different += 1;
  for (const name of before?.keys() ?? []) if (after?.has(name) !== true) different += 1;
  return different;
}
