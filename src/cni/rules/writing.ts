/** Transactions that make the tables be what the ledger says. */
import { errnoText } from '../../backends/nftables/errno.ts';
import type { NftFamily } from '../../backends/nftables/packet.ts';
import { type BatchRefusal, TableBatch } from '../../backends/nftables/table-batch.ts';
import type { IPFamily } from '../../net/ip.ts';
import type { Element } from '../../netfilter/messages.ts';
import { CniError, CODE } from '../types.ts';
import type { RuleElement } from './elements.ts';
import type { Change, Ledger } from './ledger.ts';
import { TABLE } from './names.ts';
import { tableSpec } from './tables.ts';

export const FAMILIES: readonly NftFamily[] = ['IPv4', 'IPv6', 'bridge'];

export interface Writing {
  readonly ledger: Ledger;
  /** Tables that are there; the others of those that `change` needs are made, with all that the ledger has. */
  readonly present: ReadonlySet<NftFamily>;
  readonly change: Change;
  /** The networks are others now. */
  readonly hasNewRanges: boolean;
}

/** A transaction for what changed; `made` are the tables that come with it. */
export function changeBatch({ ledger, present, change, hasNewRanges }: Writing): {
  batch: TableBatch;
  made: readonly NftFamily[];
} {
  const batch = new TableBatch();
  const needed = new Set<NftFamily>(change.added.map(({ family }) => family));
  if (hasNewRanges) for (const family of ledger.families()) needed.add(family);
  const made = [...needed].filter(family => !present.has(family));
  for (const family of made) writeTable(batch, family, ledger);
  for (const family of present) {
    writeElements(batch, 'delete', family, change.deleted);
    if (hasNewRanges && family !== 'bridge') writeRanges(batch, family, ledger);
    writeElements(batch, 'add', family, change.added);
  }
  return { batch, made };
}

/** A transaction that writes tables anew, with all that the ledger has. */
export function wholeBatch(ledger: Ledger, families: Iterable<NftFamily>): TableBatch {
  const batch = new TableBatch();
  for (const family of families) writeTable(batch, family, ledger);
  return batch;
}

function writeTable(batch: TableBatch, family: NftFamily, ledger: Ledger): void {
  batch.table(tableSpec(family), true);
  for (const [set, elements] of ledger.setsOf(family)) batch.elements('add', { name: TABLE, family }, set, elements);
}

function writeRanges(batch: TableBatch, family: IPFamily, ledger: Ledger): void {
  const table = { name: TABLE, family };
  for (const [set, elements] of ledger.rangesOf(family)) {
    batch.flush(table, set);
    batch.elements('add', table, set, elements);
  }
}

function writeElements(
  batch: TableBatch,
  kind: 'add' | 'delete',
  family: NftFamily,
  elements: readonly RuleElement[],
): void {
  const sets = new Map<string, Element[]>();
  for (const { set, element } of elements.filter(each => each.family === family)) {
    const found = sets.get(set);
    if (found === undefined) sets.set(set, [element]);
    else found.push(element);
  }
  for (const [set, list] of sets) batch.elements(kind, { name: TABLE, family }, set, list);
}

export function refusalError({ subject, errno }: BatchRefusal): CniError {
  return new CniError(CODE.kernel, `the kernel refuses ${subject}: ${errnoText(errno)}`);
}
