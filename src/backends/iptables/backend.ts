import type { Backend } from '../backend.ts';
import { applyChanges, type IptablesIO } from './apply.ts';
import { DriftWatch } from './drift.ts';
import { loadTables } from './load.ts';
import type { IptablesObject } from './objects.ts';
import { planRoute } from './plan.ts';
import { readByParts } from './read-by-parts.ts';
import { removeAll, removeLeftovers } from './removal.ts';
import type { IptablesOptions } from './rules.ts';
import { planShared } from './shared-rules.ts';
import { toolsOf } from './tools.ts';
import { unserved } from './unserved.ts';

/** The variant that talks to nf_tables: Debian's default since 10. */
export const IPTABLES_NFT = toolsOf('nft', 'IPv4');

export type IptablesBackend = Backend<IptablesObject> & Required<Pick<Backend<IptablesObject>, 'readByParts'>>;

const BY_PARTS =
  'another program wrote into our tables with nft: our rules are read by parts, and all chains of Services written anew';

/**
 * kube-proxy's iptables layout, for one family. See README.md for the packet path. `options` is asked at every plan: when its
 * answer changes, everything must be planned again.
 */
export function createIptablesBackend(options: () => IptablesOptions, io: IptablesIO): IptablesBackend {
  const drift = new DriftWatch(io);
  let isSaid = false;
  return {
    planRoute: route => planRoute(route, options()),
    planShared: () => planShared(options()),
    unserved,
    read: () => drift.read(),
    readByParts: () => {
      if (!isSaid) io.log?.warn(BY_PARTS);
      isSaid = true;
      return readByParts(io);
    },
    apply: (changes, current, callOptions) => {
      drift.noteWrite();
      return applyChanges(changes, current, { io, ...callOptions });
    },
    ...(io.tools.variant === 'legacy' ? { load: loader(io, drift) } : {}),
    hasDrifted: (current, callOptions) => drift.hasDrifted(current, callOptions),
    tidy: callOptions => removeLeftovers(io, callOptions),
    close: async ({ cleanup }) => {
      if (cleanup) await removeAll(io);
    },
  };
}

function loader(io: IptablesIO, drift: DriftWatch): NonNullable<IptablesBackend['load']> {
  return (objects, callOptions) => {
    drift.noteWrite();
    return loadTables(objects, { io, ...callOptions });
  };
}
