/** States of the kernel as text that is the same for what works the same. Pure. */

import { isOfOnePort, LEARNING } from './names.ts';
import type { NftObject, Pool } from './objects.ts';
import { isHash } from './settle.ts';

/**
 * The objects, one a line, sorted; endpoints without their slots, but for a hash's; without chains that choose among a number of endpoints that no
 * Service has now, which wait for the next full sync.
 */
export function normalise(plan: ReadonlyMap<string, NftObject>): readonly string[] {
  const used = usedChains(plan);
  return [...plan]
    .filter(([, object]) => object.kind !== 'chain' || isOfOnePort(object.name) || used.has(object.name))
    .map(
      ([key, object]) => `${key} ${JSON.stringify(object.kind === 'frontend' ? withoutSlots(object) : object, asText)}`,
    )
    .toSorted();
}

/** Chains that can be reached: from a hook, from other such chains, from elements. */
function usedChains(plan: ReadonlyMap<string, NftObject>): ReadonlySet<string> {
  const used = new Set<string>();
  const use = (name: string | undefined) => {
    if (name === undefined || used.has(name)) return;
    used.add(name);
    const chain = plan.get(`chain/${name}`);
    if (chain?.kind !== 'chain') return;
    for (const { expressions } of chain.rules) {
      for (const expression of expressions) {
        if (expression.name === 'immediate' && !(expression.data instanceof Uint8Array)) use(expression.data.chain);
      }
    }
  };
  for (const object of plan.values()) {
    if (object.kind === 'chain' && object.base !== undefined && !LEARNING.includes(object.name)) use(object.name);
    if (object.kind !== 'frontend') continue;
    if (object.learner !== undefined) for (const name of LEARNING) use(name);
    for (const name of [object.chain, object.inside?.chain, object.source, object.refusal, object.learner]) use(name);
  }
  return used;
}

function withoutSlots<P extends Pool & { readonly inside?: Pool }>(pool: P): object {
  const sorted = ({ chain, endpoints }: Pool) => ({ endpoints: isHash(chain) ? endpoints : endpoints.toSorted() });
  const { inside } = pool;
  return { ...pool, ...sorted(pool), ...(inside === undefined ? {} : { inside: { ...inside, ...sorted(inside) } }) };
}

/** Fields in the order of their names; timeouts are larger numbers than JSON has. */
function asText(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}`;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
