/**
 * Asks the kernel what a table has. While others commit, the kernel cuts a dump short (EINTR); while a set is spread over more buckets, just after it has grown, the
 * kernel tells of some elements twice, and perhaps of others not at all (net/netfilter/nft_set_hash.c, nft_rhash_walk, which counts what it has told).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import { type Message, MessageWriter } from '../../netfilter/attributes.ts';
import { readElements } from '../../netfilter/message-reading.ts';
import { BatchWriter, type Element, NFT } from '../../netfilter/messages.ts';
import { OnceEach, TornDumpError } from './once-each.ts';
import { type NftFamily, protocolOf } from './packet.ts';

const ENOENT = 2;
const EINTR = 4;
const ATTEMPTS = 10;
const WAIT_MS = 10;

export interface Question {
  /** A `get` of NFT. */
  readonly type: number;
  readonly family: NftFamily;
  readonly table: string;
  readonly set?: string;
}

type SetPlace = Omit<Question, 'type'> & { readonly set: string };

/** The messages that answer; none where the table, or the set, doesn't exist. */
export async function dump(kernel: NftKernel, { type, family, table, set }: Question): Promise<readonly Message[]> {
  const out = new MessageWriter(256);
  new BatchWriter(out, { family: protocolOf(family), table, sequence: 0 }).dump(type, set);
  try {
    return await kernel.dump(out.bytes());
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ENOENT) return [];
    throw error;
  }
}

/** The element with this key; undefined where there is none, nor such a set. Costs the same however many the set has. */
export async function findElement(
  kernel: NftKernel,
  { family, table, set }: SetPlace,
  key: Buffer,
): Promise<Element | undefined> {
  const out = new MessageWriter(256);
  new BatchWriter(out, { family: protocolOf(family), table, sequence: 0 }).find(set, key);
  try {
    return (await kernel.dump(out.bytes())).flatMap(message => readElements(message).elements)[0];
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ENOENT) return undefined;
    throw error;
  }
}

/** What a set has, as the kernel tells it; nothing where there is no such set. */
export async function elementsOf(kernel: NftKernel, { set, ...where }: SetPlace): Promise<readonly Element[]> {
  const messages = await dump(kernel, { ...where, type: NFT.getElement, set });
  return messages.flatMap(message => readElements(message).elements);
}

/** The same of a set that nobody changes meanwhile. Rejects with TornDumpError. */
export async function wholeSet(kernel: NftKernel, place: SetPlace): Promise<readonly Element[]> {
  const elements = await elementsOf(kernel, place);
  const once = new OnceEach();
  if (!elements.every(element => once.isFirst(place.set, element))) throw new TornDumpError(place.set);
  return elements;
}

/** What `read` resolves to, read again while its dumps are cut short or torn. */
export async function untilWhole<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await read();
    } catch (error) {
      const isPassing = error instanceof TornDumpError || (error instanceof NetlinkError && error.errno === EINTR);
      if (!isPassing || attempt === ATTEMPTS) throw error;
      await delay(WAIT_MS * attempt);
    }
  }
}
