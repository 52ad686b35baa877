import { setTimeout as delay } from 'node:timers/promises';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import type { IPFamily } from '../../net/ip.ts';
import { type Message, MessageWriter } from '../../netfilter/attributes.ts';
import { BatchWriter, NFT } from '../../netfilter/messages.ts';
import type { Plan } from '../backend.ts';
import { TABLE } from './names.ts';
import type { NftObject } from './objects.ts';
import { layoutOf } from './packet.ts';
import { parseTable, setsWithElements } from './parse.ts';

const ENOENT = 2;
const EINTR = 4;
/** While others commit, the kernel cuts dumps short. */
const ATTEMPTS = 10;
const WAIT_MS = 10;

/** What our table has; empty where there is none. */
export async function readPlan(kernel: NftKernel, family: IPFamily): Promise<Plan<NftObject>> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await readOnce(kernel, family);
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.errno !== EINTR || attempt === ATTEMPTS) throw error;
      await delay(WAIT_MS * attempt);
    }
  }
}

async function readOnce(kernel: NftKernel, family: IPFamily): Promise<Plan<NftObject>> {
  const ask = (type: number, set?: string) => dump(kernel, { type, family, ...(set === undefined ? {} : { set }) });
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

/** The messages about our table; none where it, or the set, doesn't exist. */
export async function dump(
  kernel: NftKernel,
  { type, family, set }: { readonly type: number; readonly family: IPFamily; readonly set?: string },
): Promise<readonly Message[]> {
  const out = new MessageWriter(256);
  new BatchWriter(out, { family: layoutOf(family).protocol, table: TABLE, sequence: 0 }).dump(type, set);
  try {
    return await kernel.dump(out.bytes());
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ENOENT) return [];
    throw error;
  }
}
