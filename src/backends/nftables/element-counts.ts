/** How many elements the objects of a Plan are in each set or map. Pure. */
import { SETS } from './names.ts';
import type { Frontend, NftObject } from './objects.ts';

type Counts = Record<keyof typeof SETS | 'members', number>;

/** By set, those that are empty too; `members` are the sets of endpoints of all ports with session affinity. A few milliseconds for thousands of Services. */
export function countElements(objects: Iterable<NftObject>): ReadonlyMap<string, number> {
  const counts: Counts = {
    services: 0,
    endpoints: 0,
    inside: 0,
    external: 0,
    refused: 0,
    allowed: 0,
    hairpins: 0,
    learners: 0,
    clusterIPs: 0,
    members: 0,
  };
  for (const object of objects) {
    if (object.kind === 'frontend') countFrontend(object, counts);
    else if (object.kind === 'cluster-ip') counts.clusterIPs += 1;
    else if (object.kind === 'members') counts.members += object.endpoints.length;
  }
  const { members, ...shared } = counts;
  const named = Object.entries(shared).map(([set, count]) => [SETS[set as keyof typeof SETS], count] as const);
  return new Map<string, number>([...named, ['members', members]]);
}

function countFrontend(frontend: Frontend, counts: Counts): void {
  const { endpoints, inside } = frontend;
  counts.endpoints += filledSlots(endpoints);
  if (inside !== undefined) counts.endpoints += filledSlots(inside.endpoints);
  if (inside?.chain !== undefined) counts.inside += 1;
  if (frontend.chain !== undefined) counts.services += 1;
  if (frontend.source !== undefined) counts.external += 1;
  if (frontend.refusal !== undefined) counts.refused += 1;
  if (frontend.learner !== undefined) counts.learners += 1;
  counts.allowed += frontend.allowed?.length ?? 0;
  counts.hairpins += frontend.hairpins?.length ?? 0;
}

/** Slots are missing only where somebody else deleted them. */
function filledSlots(endpoints: readonly string[]): number {
  return endpoints.includes('') ? endpoints.filter(text => text !== '').length : endpoints.length;
}
