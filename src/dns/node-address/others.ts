import { dump, elementsOf, untilWhole } from '../../backends/nftables/dumps.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { attributesIn, textOf } from '../../netfilter/attributes.ts';
import { NFT } from '../../netfilter/messages.ts';
import { GUARD_TABLE, SETS, serverTable } from './names.ts';
import type { TableSpec } from './tables.ts';

/** NFTA_TABLE_NAME */
const TABLE_NAME = 1;

/** Whether other processes' servers, together, give signs of life at all of the places that a server's table is for. @throws NetlinkError */
export async function othersServe(kernel: NftKernel, { name: own, family, sets }: TableSpec): Promise<boolean> {
  const tables = await untilWhole(() => dump(kernel, { type: NFT.getTable, family, table: GUARD_TABLE }));
  const names = tables.map(({ payload }) => textOf(attributesIn(payload).get(TABLE_NAME) ?? Buffer.alloc(0)));
  const others = names.filter(name => name.startsWith(serverTable('')) && name !== own);
  const live = await Promise.all(others.map(table => elementsOf(kernel, { family, table, set: SETS.serving })));
  const keys = new Set(live.flat().map(({ key }) => key.toString('hex')));
  const places = sets.find(({ spec }) => spec.name === SETS.ports)?.keys ?? [];
  return places.every(key => keys.has(key.toString('hex')));
}
