import type { EndpointSlice, Kind, ObjectByKind, Problem } from './objects.ts';
import { objectKey } from './objects.ts';
import type { Listed, ReflectorTarget } from './resource.ts';
import type { Store } from './store.ts';
import type { Trimmed } from './trim-named.ts';

/** Puts what a Reflector sees into the store. */
export function storeTarget<K extends Kind>(store: Store, kind: K): ReflectorTarget<ObjectByKind[K]> {
  return {
    replace(list) {
      const objects: ObjectByKind[K][] = [];
      const problems: Problem[] = [];
      const unchanged = new Set<string>();
      for (const listed of list) {
        if (listed.isUnchanged) unchanged.add(listed.key);
        else {
          if (listed.object !== undefined) objects.push(listed.object);
          problems.push(...listed.problems);
        }
      }
      store.replace(kind, objects, { problems, unchanged });
      store.markSynced(kind);
    },
    accept: (trimmed: Trimmed<ObjectByKind[K]>) => store.accept(kind, trimmed),
    remove: key => store.remove(kind, key),
  };
}

/** Puts what a Reflector sees of Endpoints into the store, as the slices of each. */
export class EndpointsTarget implements ReflectorTarget<readonly EndpointSlice[]> {
  readonly #store: Store;
  /** The keys of the slices that each Endpoints object is in the store, by its key. */
  readonly #slices = new Map<string, readonly string[]>();

  constructor(store: Store) {
    this.#store = store;
  }

  replace(list: Iterable<Listed<readonly EndpointSlice[]>>): void {
    const objects: EndpointSlice[] = [];
    const problems: Problem[] = [];
    const unchanged = new Set<string>();
    const before = new Map(this.#slices);
    this.#slices.clear();
    for (const listed of list) {
      if (listed.isUnchanged) {
        const keys = before.get(listed.key) ?? [];
        this.#slices.set(listed.key, keys);
        for (const key of [listed.key, ...keys]) unchanged.add(key);
        continue;
      }
      const slices = listed.object ?? [];
      if (listed.key !== undefined) this.#slices.set(listed.key, slices.map(objectKey));
      objects.push(...slices);
      problems.push(...listed.problems);
    }
    this.#store.replace('EndpointSlice', objects, { problems, unchanged });
    this.#store.markSynced('EndpointSlice');
  }

  accept({ key, object: slices = [], problems }: Trimmed<readonly EndpointSlice[]>): void {
    if (key === undefined) {
      for (const problem of problems) this.#store.reportProblems(problem.object, [problem]);
      return;
    }
    const keys = slices.map(objectKey);
    for (const slice of slices) this.#store.upsert('EndpointSlice', slice);
    for (const old of this.#slices.get(key) ?? []) if (!keys.includes(old)) this.#store.remove('EndpointSlice', old);
    this.#slices.set(key, keys);
    this.#store.reportProblems(`Endpoints ${key}`, problems);
  }

  remove(key: string): void {
    this.accept({ key, problems: [] });
    this.#slices.delete(key);
  }
}
