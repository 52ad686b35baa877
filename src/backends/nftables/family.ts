import { claimKey } from '../../endpoints/claims.ts';
import { trimMalloc } from '../../linux/malloc-trim.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { FamilyBackend } from '../family-backend.ts';
import { createNftablesBackend } from './backend.ts';
import { nftablesDump } from './dump-format.ts';
import { countElements } from './element-counts.ts';
import type { ForeignChanges } from './foreign-changes.ts';
import { ANY_ADDRESS, type NftObject } from './objects.ts';
import { type NftablesOptions, nftablesOptionChanges, nftablesOptions } from './options.ts';

export interface NftablesFamilyOptions {
  readonly family: IPFamily;
  readonly kernel: NftKernel;
  /** See NftablesIO. */
  readonly foreign?: ForeignChanges;
}

export type NftablesFamily = FamilyBackend<NftObject, NftablesOptions>;

/** The nftables mode in one family. */
export function createNftablesFamily({ family, kernel, foreign }: NftablesFamilyOptions): NftablesFamily {
  let planned: NftablesOptions | undefined;
  const backend = createNftablesBackend(
    () => {
      if (planned === undefined) throw new Error('nothing is planned before a sync begins');
      return planned;
    },
    { family, kernel, ...(foreign && { foreign }) },
  );
  return {
    ...backend,
    mode: 'nftables',
    startsAtOnce: true,
    releaseMemory: trimMalloc,
    options: {
      of: (configuration, known) => nftablesOptions(configuration, { ...known, family }),
      changes: nftablesOptionChanges,
    },
    syncs: {
      begin: options => {
        planned = options;
      },
    },
    counts: { elements: applied => countElements(applied.values()) },
    dump: nftablesDump(family),
    udpClaims: plan => udpClaims(plan.values()),
  };
}

/** The claims over UDP that objects in the kernel serve; see FamilyBackend. */
function* udpClaims(objects: Iterable<NftObject>): Iterable<string> {
  for (const object of objects) {
    if (object.kind !== 'frontend' || object.where.protocol !== 'UDP' || object.chain === undefined) continue;
    const { ip, port } = object.where;
    yield claimKey({ ip: ip === ANY_ADDRESS ? undefined : ip, port, protocol: 'UDP' });
  }
}
