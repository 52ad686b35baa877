/**
 * Asks the kernel what a table has. While others commit, the kernel cuts a dump short (EINTR); while a set is spread over more buckets, just after it has grown, the
 * kernel tells of some elements twice, and perhaps of others not at all (net/netfilter/nft_set_hash.c, nft_rhash_walk, which counts what it has told).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import type { IPFamily } from '../../net/ip.ts';
import { type Message, MessageWriter } from '../../netfilter/attributes.ts';
import { readElements } from '../../netfilter/message-reading.ts';
import { BatchWriter, type Element, NFT } from '../../netfilter/messages.ts';
import { layoutOf } from './packet.ts';

export interface Question {
  /** A `get` of NFT. */
  readonly type: number;
  readonly family: IPFamily;
  readonly table: string;
  readonly set?: string;
}

/** The messages that answer; none where the table, or the set, doesn't exist. */
export async function dump(kernel: NftKernel, { type, family, table, set }: Question): Promise<readonly Message[]> {
  const out = new MessageWriter(256);
  new BatchWriter(out, { family: layoutOf(family).protocol, table, sequence: 0 }).dump(type, set);
  try {
    return await kernel.dump(out.bytes());
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ENOENT) return [];
    throw error;
  }
}

/** What a set has; nothing where there is no such set. Rejects with TornDumpError. */
export async function elementsOf(
  kernel: NftKernel,
  where: Omit<Question, 'type'> & { readonly set: string },
): Promise<readonly Element[]> {
  const messages = await dump(kernel, { ...where, type: NFT.getElement });
  const elements = messages.flatMap(message => readElements(message).elements);
  const once = new OnceEach();
  for (const element of elements) once.note(where.set, element);
  return elements;
}

const ENOENT = 2;
const EINTR = 4;
const ATTEMPTS = 10;
const WAIT_MS = 10;

/** Elements moved while the kernel told of them. */
export class TornDumpError extends Error {
  override readonly name = 'TornDumpError';

  constructor(set: string) {
    super(`elements of the set ${set} moved while they were read`);
  }
}

/** Sees that each element of a dump is told of once. */
export class OnceEach {
  readonly #keys = new Map<string, Set<string>>();

  /** Throws TornDumpError. */
  note(set: string, { key, keyEnd }: Element): void {
    const keys = this.#keys.get(set) ?? new Set();
    this.#keys.set(set, keys);
    const before = keys.size;
    keys.add(key.toString('latin1') + (keyEnd?.toString('latin1') ?? ''));
    if (keys.size === before) throw new TornDumpError(set);
  }
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
