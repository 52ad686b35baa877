import type { Model, ServiceRoute } from '../endpoints/types.ts';
import type { Backend, Changes, Plan } from './backend.ts';
import { diff } from './diff.ts';

/**
 * What takes the kernel from `current`, which holds `previous`, to `model`. Looks only at the routes that changed: the cost
 * doesn't grow with the number of Services.
 */
export function changesSince<O>(
  backend: Pick<Backend<O>, 'planRoute' | 'settle'>,
  { previous, current, model }: { previous: Model; current: Plan<O>; model: Model },
): Changes<O> {
  const { next, keys } = touchedBy(backend, previous, model);
  const before = new Map<string, O>();
  for (const key of keys) {
    const object = current.get(key);
    if (object !== undefined) before.set(key, object);
  }
  return diff(before, next, { settle: backend.settle });
}

/** Keys of `changes` that no change of a route from `previous` to `model` explains. */
export function unexplained<O>(
  backend: Pick<Backend<O>, 'planRoute'>,
  { previous, model, changes }: { previous: Model; model: Model; changes: Changes<O> },
): string[] {
  const { keys } = touchedBy(backend, previous, model);
  const all = [...changes.created.keys(), ...changes.updated.keys(), ...changes.deleted.keys()];
  return all.filter(key => !keys.has(key));
}

/** The objects of the routes that changed from `previous` to `model`, and the keys of all that these had or have. */
function touchedBy<O>(
  backend: Pick<Backend<O>, 'planRoute'>,
  previous: Model,
  model: Model,
): { readonly next: ReadonlyMap<string, O>; readonly keys: ReadonlySet<string> } {
  const next = new Map<string, O>();
  const keys = new Set<string>();
  const plan = (route: ServiceRoute | undefined) => (route === undefined ? [] : backend.planRoute(route));
  for (const key of model.changed) {
    for (const [objectKey] of plan(previous.routes.get(key))) keys.add(objectKey);
    for (const [objectKey, object] of plan(model.routes.get(key))) {
      keys.add(objectKey);
      next.set(objectKey, object);
    }
  }
  return { next, keys };
}

/** Everything that the kernel shall hold for `model`, the shared objects first, then one route after the other, planned as they are asked for. */
export function* plannedObjects<O>(
  backend: Pick<Backend<O>, 'planRoute' | 'planShared'>,
  model: Model,
): Iterable<readonly [string, O]> {
  yield* backend.planShared(model);
  for (const route of model.routes.values()) yield* backend.planRoute(route);
}

/** All `plannedObjects` at once. */
export function planAll<O>(
  backend: Pick<Backend<O>, 'planRoute' | 'planShared'>,
  model: Model,
): ReadonlyMap<string, O> {
  return new Map(plannedObjects(backend, model));
}
