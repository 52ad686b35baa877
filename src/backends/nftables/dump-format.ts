/** What the objects of our table say about Services by themselves. Pure. */
import type { DescribedService, DumpFormat, ObjectText, Ownership } from '../../dump/format.ts';
import type { DumpRule } from '../../dump/state.ts';
import { TABLE } from './names.ts';
import type { NftObject } from './objects.ts';

export const NFTABLES_DUMP: DumpFormat<NftObject> = { textOf, rankOf, groupByOwner, describe, lost };

function textOf(object: NftObject): ObjectText {
  return {
    table: TABLE,
    chain: object.kind,
    lines: [JSON.stringify(object, (_, v) => (typeof v === 'bigint' ? `${v}` : v))],
  };
}

function rankOf(_rule: Pick<DumpRule, 'table' | 'chain'>): number {
  return 0;
}

function groupByOwner(objects: Iterable<NftObject>): Ownership<NftObject> {
  return { owned: new Map(), rest: [...objects] };
}

function describe(_rules: readonly DumpRule[]): DescribedService {
  return { addresses: [], internalTrafficPolicy: null, externalTrafficPolicy: null, endpoints: [] };
}

function lost(_shared: readonly DumpRule[]): readonly DumpRule[] {
  return [];
}
