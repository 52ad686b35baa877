/** What a kernel's objects say about Services by themselves, whoever wrote them. */
import type { IPFamily } from '../watch/objects.ts';
import { inPacketOrder, listAll } from './compare.ts';
import type { DumpFormat, OwnedObjects } from './format.ts';
import { type DumpFamily, type DumpRule, type DumpServicePort, sortServices, withState } from './state.ts';

/** One family from its rules alone. Nothing is known to be desired, except that the built-in chains lead to the Services. */
export function kernelFamily<O>(family: IPFamily, kernel: ReadonlyMap<string, O>, format: DumpFormat<O>): DumpFamily {
  const { owned, rest } = format.groupByOwner(kernel.values());
  const services = [...owned.values()].map(group => kernelServicePort(group, 'unchecked', format));
  const shared = listAll(rest, 'unchecked', format);
  const lost = kernel.size === 0 ? [] : format.lost(shared);
  return {
    family,
    comparison: 'none',
    services: sortServices(services),
    shared: kernel.size === 0 ? { rules: [], state: 'unchecked' } : withState([...lost, ...shared]),
  };
}

/** One ServicePort from its rules alone, all of them in the given state. */
export function kernelServicePort<O>(
  { name, objects }: OwnedObjects<O>,
  state: DumpRule['state'],
  format: DumpFormat<O>,
): DumpServicePort {
  const rules = inPacketOrder(listAll(objects, state, format), format);
  return { ...name, ...format.describe(rules), ...withState(rules) };
}
