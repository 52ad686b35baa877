import type { IptablesBackend } from './backend.ts';
import type { IptablesObject, Table } from './objects.ts';

/** Rules by table. */
export type RuleCounts = Readonly<Record<Table, number>>;

/** kube-proxy doesn't count the jumps from these, which it keeps by other means. */
const BUILT_IN = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

export function countRules(objects: Iterable<IptablesObject>): RuleCounts {
  const counts = { filter: 0, nat: 0 };
  for (const object of objects) counts[object.table] += rulesIn(object);
  return counts;
}

function rulesIn(object: IptablesObject): number {
  if (object.kind === 'dispatch') return 0;
  if (object.kind === 'rule') return BUILT_IN.has(object.chain) ? 0 : 1;
  if (object.rules === '') return 0;
  let count = 1;
  for (let at = object.rules.indexOf('\n'); at >= 0; at = object.rules.indexOf('\n', at + 1)) count += 1;
  return count;
}

/** Counts the rules that a backend has, and those that the sync under way or the last one wrote. */
export class RuleCounter {
  #written = { filter: 0, nat: 0 };
  /** Of the newest Plan; counting a large one takes some 20 ms. */
  #total: RuleCounts | undefined;

  get written(): RuleCounts {
    return this.#written;
  }

  /** All rules of what is true in the kernel. */
  total(applied: ReadonlyMap<string, IptablesObject>): RuleCounts {
    this.#total ??= countRules(applied.values());
    return this.#total;
  }

  /** A sync begins. */
  begin(): void {
    this.#written = { filter: 0, nat: 0 };
    this.#total = undefined;
  }

  /** The same backend, observed. */
  observe(backend: IptablesBackend): IptablesBackend {
    const { load } = backend;
    return {
      ...backend,
      apply: (changes, current, options) => {
        for (const object of changes.created.values()) this.#count(object);
        for (const { after } of changes.updated.values()) this.#count(after);
        return this.#changing(backend.apply(changes, current, options));
      },
      ...(load && { load: (objects, options) => this.#changing(load(this.#counting(objects), options)) }),
    };
  }

  #changing<T>(work: Promise<T>): Promise<T> {
    return work.finally(() => {
      this.#total = undefined;
    });
  }

  *#counting(objects: Iterable<readonly [string, IptablesObject]>): Iterable<readonly [string, IptablesObject]> {
    for (const item of objects) {
      this.#count(item[1]);
      yield item;
    }
  }

  #count(object: IptablesObject): void {
    this.#written[object.table] += rulesIn(object);
  }
}
