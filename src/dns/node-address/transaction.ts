/** Writes the tables of tables.ts, each whole. */
import { errnoText } from '../../backends/nftables/errno.ts';
import { TableBatch, type TableSpec } from '../../backends/nftables/table-batch.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';

/** This kernel can't deliver a Service's packets here, or doesn't let us tell it to. What else the DNS server does needs none of this. */
export class NodeAddressError extends Error {
  override readonly name = 'NodeAddressError';
}

export interface Writing {
  readonly spec: TableSpec;
  /** What the table has is lost, also what rules wrote into its sets. Otherwise chains and listed elements become those of `spec`, and the rest stays. */
  readonly isAnew: boolean;
}

/** Makes tables be as they are described, in one transaction. @throws NodeAddressError when the kernel refuses, with what it lacks */
export async function writeTables(kernel: NftKernel, tables: readonly Writing[]): Promise<void> {
  const batch = new TableBatch();
  for (const { spec, isAnew } of tables) batch.table(spec, isAnew);
  await commit(batch, kernel);
}

/** Empties a set of a table. @throws NodeAddressError */
export async function emptySet(kernel: NftKernel, { name, family }: TableSpec, set: string): Promise<void> {
  const batch = new TableBatch();
  batch.flush({ name, family }, set);
  await commit(batch, kernel);
}

async function commit(batch: TableBatch, kernel: NftKernel): Promise<void> {
  const refusal = await batch.commit(kernel);
  if (refusal === undefined) return;
  throw new NodeAddressError(`the kernel refuses ${refusal.subject}: ${errnoText(refusal.errno)}`);
}
