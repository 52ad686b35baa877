import type { Backend } from '../backend.ts';
import { changeCount, diff } from '../diff.ts';
import { applyChanges, type IptablesIO } from './apply.ts';
import { DriftWatch } from './drift.ts';
import type { IptablesObject } from './objects.ts';
import { planRoute, unserved } from './plan.ts';
import { readPlan } from './read.ts';
import type { IptablesOptions } from './rules.ts';
import { planShared } from './shared-rules.ts';
import { toolsOf } from './tools.ts';

/** The variant that talks to nf_tables: Debian's default since 10. */
export const IPTABLES_NFT = toolsOf('nft', 'IPv4');

/**
 * kube-proxy's iptables layout, for one family. See README.md for the packet path. `options` is asked at every plan: when its
 * answer changes, everything must be planned again.
 */
export function createIptablesBackend(options: () => IptablesOptions, io: IptablesIO): Backend<IptablesObject> {
  const drift = new DriftWatch(io);
  return {
    planRoute: route => planRoute(route, options()),
    planShared: () => planShared(options()),
    unserved,
    read: () => drift.read(),
    apply: (changes, current, callOptions) => {
      drift.noteWrite();
      return applyChanges(changes, current, { io, ...callOptions });
    },
    hasDrifted: (current, callOptions) => drift.hasDrifted(current, callOptions),
    close: async ({ cleanup }) => {
      if (cleanup) await removeAll(io);
    },
  };
}

/** Takes every rule and chain of ours out of the kernel; other programs' stay. Resolves to how many objects went; rejects when one can't. */
export async function removeAll(io: IptablesIO): Promise<number> {
  const current = await readPlan(io);
  const changes = diff(current, new Map());
  const { failures } = await applyChanges(changes, current, { io });
  if (failures.length > 0) {
    throw new AggregateError(
      failures.map(({ error }) => error),
      failures.map(({ key, error }) => `cannot remove ${key}: ${error.message}`).join('\n'),
    );
  }
  return changeCount(changes);
}
