/** How many elements the objects of a Plan are in each set or map. Pure. */
import { SETS } from './names.ts';
import type { Frontend, NftObject, Pool } from './objects.ts';

/** What stands for the sets of endpoints of all ports with session affinity. */
const MEMBERS = 'members';

/** By set, those that are empty too. Only lengths are looked at: some milliseconds for tens of thousands of objects. */
export function countElements(objects: Iterable<NftObject>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>([...Object.values(SETS), MEMBERS].map(set => [set, 0]));
  const add = (set: string, count: number) => {
    if (count > 0) counts.set(set, (counts.get(set) ?? 0) + count);
  };
  for (const object of objects) {
    if (object.kind === 'frontend') countFrontend(object, add);
    else if (object.kind === 'cluster-ip') add(SETS.clusterIPs, 1);
    else if (object.kind === 'members') add(MEMBERS, object.endpoints.length);
  }
  return counts;
}

function countFrontend(frontend: Frontend, add: (set: string, count: number) => void): void {
  const { chain, inside, source, refusal, learner, allowed, hairpins } = frontend;
  const one = (target: string | undefined) => (target === undefined ? 0 : 1);
  add(SETS.services, one(chain));
  add(SETS.endpoints, slotsOf(frontend) + (inside === undefined ? 0 : slotsOf(inside)));
  add(SETS.inside, one(inside?.chain));
  add(SETS.external, one(source));
  add(SETS.refused, one(refusal));
  add(SETS.learners, one(learner));
  add(SETS.allowed, allowed?.length ?? 0);
  add(SETS.hairpins, hairpins?.length ?? 0);
}

function slotsOf({ endpoints }: Pool): number {
  let count = 0;
  for (const text of endpoints) if (text !== '') count += 1;
  return count;
}
