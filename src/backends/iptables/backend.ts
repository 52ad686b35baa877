import type { Backend } from '../backend.ts';
import { applyChanges, type IptablesIO } from './apply.ts';
import { DriftWatch } from './drift.ts';
import type { IptablesObject } from './objects.ts';
import { planRoute, unserved } from './plan.ts';
import { removeAll, removeLeftovers } from './removal.ts';
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
    tidy: callOptions => removeLeftovers(io, callOptions),
    close: async ({ cleanup }) => {
      if (cleanup) await removeAll(io);
    },
  };
}
