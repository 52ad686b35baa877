import type { NftKernel } from '../../linux/nf-tables.ts';
import type { IPFamily } from '../../net/ip.ts';
import type { Backend, Plan } from '../backend.ts';
import { forgetAll, forgetClients } from './affinity-clients.ts';
import { applyChanges } from './apply.ts';
import type { ForeignChanges } from './foreign-changes.ts';
import { isPlannedTogether, TABLE } from './names.ts';
import type { NftObject } from './objects.ts';
import type { NftablesOptions } from './options.ts';
import { planRoute } from './plan.ts';
import { readPlan } from './read.ts';
import { removeTable } from './removal.ts';
import { settle } from './settle.ts';
import { planShared } from './shared-rules.ts';
import { unserved } from './unserved.ts';

/** How a chain's key begins: see `keyOf`. */
const CHAIN_KEY = 'chain/';

export interface NftablesIO {
  readonly family: IPFamily;
  readonly kernel: NftKernel;
  /** Tells of others' changes to the table; absent = nobody else can make any. */
  readonly foreign?: ForeignChanges;
}

/**
 * All Services of one family in the maps of one table. See README.md for the layout and the packet path. `options` is asked at every plan:
 * when its answer changes, everything must be planned again.
 */
export function createNftablesBackend(options: () => NftablesOptions, io: NftablesIO): Backend<NftObject> {
  const { family, kernel, foreign } = io;
  /** Others' changes before each plan was read; `apply` goes on with the same plan. */
  const readAt = new WeakMap<Plan<NftObject>, number>();
  /** What the kernel has, as long as somebody keeps it. */
  let newest: WeakRef<Plan<NftObject>> | undefined;
  /** Others' changes before the table was last read. */
  let countAtRead = 0;
  return {
    planRoute: route => planRoute(route, options()),
    planShared: () => planShared(options()),
    isShared: key => key.startsWith(CHAIN_KEY) && isPlannedTogether(key.slice(CHAIN_KEY.length)),
    settle,
    unserved,
    read: async () => {
      await foreign?.begin();
      const count = foreign?.countOf(family) ?? 0;
      const plan = await readPlan(kernel, family);
      readAt.set(plan, count);
      newest = new WeakRef(plan);
      // Clients are no part of the plan: what somebody else wrote there is looked for by itself.
      if (count !== countAtRead) await forgetAll(plan, io);
      countAtRead = count;
      return plan;
    },
    apply: async (changes, current, callOptions) => {
      const applied = await applyChanges(changes, current, {
        ...io,
        onCommit: () => foreign?.noteOwn(),
        ...callOptions,
      });
      newest = new WeakRef(applied.plan);
      await forgetClients(changes, applied, io);
      return applied;
    },
    tidy: () => forgetAll(newest?.deref() ?? new Map(), io),
    ...(foreign && {
      hasDrifted: current => foreign.isSuspect(family, readAt.get(current) ?? -1),
      follow: (onForeign: () => void) => foreign.follow(family, onForeign),
    }),
    close: async ({ cleanup }) => {
      await foreign?.leave(family);
      if (cleanup) await removeTable({ kernel, family, table: TABLE });
      kernel.close();
    },
  };
}
