import type { NftKernel } from '../../linux/nf-tables.ts';
import type { IPFamily } from '../../net/ip.ts';
import type { Message } from '../../netfilter/attributes.ts';
import { NFT } from '../../netfilter/messages.ts';
import type { Plan } from '../backend.ts';
import { dump, untilWhole } from './dumps.ts';
import { TABLE } from './names.ts';
import type { NftObject } from './objects.ts';
import { parseTable, setsWithElements } from './parse.ts';

/** What our table has; empty where there is none. */
export function readPlan(kernel: NftKernel, family: IPFamily): Promise<Plan<NftObject>> {
  return untilWhole(() => readOnce(kernel, family));
}

async function readOnce(kernel: NftKernel, family: IPFamily): Promise<Plan<NftObject>> {
  const ask = (type: number, set?: string) =>
    dump(kernel, { type, family, table: TABLE, ...(set === undefined ? {} : { set }) });
  const tables = await ask(NFT.getTable);
  if (tables.length === 0) return new Map();
  const sets = await ask(NFT.getSet);
  const chains = await ask(NFT.getChain);
  const rules = await ask(NFT.getRule);
  const elements: Message[] = [];
  for (const set of setsWithElements(sets))
    for (const message of await ask(NFT.getElement, set)) elements.push(message);
  return parseTable({ tables, sets, chains, rules, elements }, family);
}
