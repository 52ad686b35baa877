import { type Model, type ServiceRoute, serviceOfKey, servicePortKey } from '../endpoints/types.ts';
import type { Backend, Changes, Plan } from './backend.ts';
import { diff } from './diff.ts';

/**
 * What takes the kernel from `current`, which holds `previous`, to `model`. Looks only at the Services of the routes that changed: the
 * cost doesn't grow with their number.
 */
export function changesSince<O>(
  backend: Pick<Backend<O>, 'planRoute' | 'settle' | 'isShared'>,
  { previous, current, model }: { previous: Model; current: Plan<O>; model: Model },
): Changes<O> {
  const services = changedServices(model);
  const next = new Map(planned(backend, routesOf(services, model)));
  const before = new Map<string, O>();
  const keys = new Set(next.keys());
  for (const [key] of planned(backend, routesOf(services, previous))) keys.add(key);
  for (const key of keys) {
    const object = current.get(key);
    if (object === undefined) continue;
    // Whether a route elsewhere still plans it isn't known here.
    if (backend.isShared?.(key) === true && !next.has(key)) continue;
    before.set(key, object);
  }
  return diff(before, next, { settle: backend.settle });
}

/** Keys of `changes` that no change of a route from `previous` to `model` explains. */
export function unexplained<O>(
  backend: Pick<Backend<O>, 'planRoute' | 'isShared'>,
  { previous, model, changes }: { previous: Model; model: Model; changes: Changes<O> },
): string[] {
  const keys = new Set<string>();
  for (const { routes } of [previous, model]) {
    const changed = [...model.changed].map(key => routes.get(key));
    for (const [key] of planned(backend, changed)) keys.add(key);
  }
  // What nobody plans any more stays until a full sync, as this one.
  const deleted = [...changes.deleted.keys()].filter(key => backend.isShared?.(key) !== true);
  const all = [...changes.created.keys(), ...changes.updated.keys(), ...deleted];
  return all.filter(key => !keys.has(key));
}

/** The Services (namespace/name) of the routes that changed. */
function changedServices(model: Model): ReadonlySet<string> {
  return new Set([...model.changed].map(serviceOfKey));
}

/** All ports of `services`: those that didn't change may plan the same objects as one that did. */
function* routesOf(services: Iterable<string>, { servicePorts, routes }: Model): Iterable<ServiceRoute | undefined> {
  for (const service of services) {
    for (const { name } of servicePorts.get(service) ?? []) yield routes.get(servicePortKey(name));
  }
}

function* planned<O>(
  backend: Pick<Backend<O>, 'planRoute'>,
  routes: Iterable<ServiceRoute | undefined>,
): Iterable<readonly [string, O]> {
  for (const route of routes) if (route !== undefined) yield* backend.planRoute(route);
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
