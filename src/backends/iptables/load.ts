import type { Applied, KernelCallOptions, Plan } from '../backend.ts';
import { diff } from '../diff.ts';
import { applyChanges, applySteps, type IptablesIO, isRefusal, restore } from './apply.ts';
import type { IptablesObject } from './objects.ts';
import { renderLoad, stepsOf } from './render.ts';

/**
 * Makes `objects` true in legacy tables that hold nothing of ours; see Backend.load. nat, which is nearly everything, goes in one call whose text
 * is planned while the tool reads it, which hides nearly all of the planning. filter, whose entries are known only then, follows. When nat is refused nothing has changed, and the ordinary way finds out why.
 */
export async function loadTables(
  objects: Iterable<readonly [string, IptablesObject]>,
  call: { readonly io: IptablesIO } & KernelCallOptions,
): Promise<Applied<IptablesObject>> {
  const plan: Plan<IptablesObject> = new Map();
  const planned = resumable(objects, plan);
  try {
    await restore({ [Symbol.iterator]: () => renderLoad(planned, 'nat') }, call);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    for (const _ of planned());
    return applyChanges(diff(new Map(), plan), new Map(), call);
  }
  const filter = new Map([...plan].filter(([, { table }]) => table === 'filter'));
  const failures = await applySteps(stepsOf(diff(new Map(), filter)), call);
  for (const { key } of failures) plan.delete(key);
  return { plan, failures };
}

/** All objects from the first on, as often as it is called: `plan` keeps those that were asked for (the tool may be started anew). */
function resumable(objects: Iterable<readonly [string, IptablesObject]>, plan: Plan<IptablesObject>) {
  const rest = objects[Symbol.iterator]();
  return function* (): Iterable<IptablesObject> {
    yield* plan.values();
    for (let next = rest.next(); next.done !== true; next = rest.next()) {
      const [key, object] = next.value;
      if (plan.has(key)) continue;
      plan.set(key, object);
      yield object;
    }
  };
}
