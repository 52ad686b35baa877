import type { Map as ImmutableMap } from 'immutable';
import type { EndpointSlice, IPFamily } from './objects.ts';
import type { Dirty, Snapshot } from './snapshot.ts';

/** What was added, altered or removed from one snapshot to a later one. */
export interface StoreChanges {
  /** namespace/name of each Service. */
  readonly services: readonly string[];
  readonly slices: readonly SliceChange[];
}

export interface SliceChange {
  /** namespace/name of the Service that it belongs to. */
  readonly service: string;
  readonly family: IPFamily;
  /** As in EndpointSlice; 0 of one that was removed. */
  readonly changeTriggerMs: number;
}

/** `dirty` says where to look. */
export function changesBetween(before: Snapshot, after: Snapshot, dirty: Pick<Dirty, 'services'>): StoreChanges {
  const services: string[] = [];
  const slices: SliceChange[] = [];
  for (const service of dirty.services) {
    if (before.services.get(service) !== after.services.get(service)) services.push(service);
    for (const change of sliceChanges(before.slices.get(service), after.slices.get(service))) {
      slices.push({ service, family: change.family, changeTriggerMs: change.changeTriggerMs });
    }
  }
  return { services, slices };
}

type Slices = ImmutableMap<string, EndpointSlice> | undefined;

/** What is unchanged is the same object in both. */
function* sliceChanges(before: Slices, after: Slices): Iterable<Omit<SliceChange, 'service'>> {
  if (before === after) return;
  for (const [name, slice] of after ?? []) if (before?.get(name) !== slice) yield slice;
  for (const [name, { family }] of before ?? []) {
    if (after?.has(name) !== true) yield { family, changeTriggerMs: 0 };
  }
}
