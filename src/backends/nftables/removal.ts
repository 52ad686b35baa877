/** Takes whole tables away: ours, or another program's. */
import { setTimeout as delay } from 'node:timers/promises';
import type { NftKernel, Refusal } from '../../linux/nf-tables.ts';
import type { IPFamily } from '../../net/ip.ts';
import { MessageWriter } from '../../netfilter/attributes.ts';
import { BatchWriter } from '../../netfilter/messages.ts';
import type { KernelCallOptions } from '../backend.ts';
import { RefusedError } from './apply.ts';
import { CHAINS, TABLE } from './names.ts';
import { layoutOf } from './packet.ts';

export interface NamedTable {
  readonly kernel: NftKernel;
  readonly family: IPFamily;
  readonly table: string;
}

const ENOENT = 2;
/** A packet is between two hooks for microseconds. */
const IN_FLIGHT_MS = 50;

/** Deletes a table and everything in it; resolves to whether there was one. @throws RefusedError */
export async function removeTable(named: NamedTable): Promise<boolean> {
  const [refusal] = await commit(named, batch => batch.delTable());
  if (refusal === undefined) return true;
  if (refusal.errno === ENOENT) return false;
  throw new RefusedError(`to delete the table ${named.table}`, refusal.errno);
}

/**
 * The same of our table, where another mode has been programmed. New connections no longer get their endpoint from it; those that have it already, and are on
 * their way to the hook where the source is rewritten, still find that in force: no other mode knows which of them need it. @throws RefusedError
 */
export async function retireTable(
  named: Omit<NamedTable, 'table'>,
  { signal }: KernelCallOptions = {},
): Promise<boolean> {
  const ours = { ...named, table: TABLE };
  const refusals = await commit(ours, batch => {
    for (const chain of [CHAINS.natPrerouting, CHAINS.natOutput]) batch.flushChain(chain);
  });
  if (refusals.length === 0) await delay(IN_FLIGHT_MS, undefined, signal === undefined ? {} : { signal });
  return removeTable(ours);
}

function commit(
  { kernel, family, table }: NamedTable,
  write: (batch: BatchWriter) => void,
): Promise<readonly Refusal[]> {
  const out = new MessageWriter(256);
  const batch = new BatchWriter(out, { family: layoutOf(family).protocol, table, sequence: 0 });
  batch.beginBatch();
  write(batch);
  batch.endBatch();
  return kernel.commit(out.bytes());
}
