/** Batches of source ranges for the set that takes no overlaps, and what a kernel answers. */
import fc from 'fast-check';
import { frontendBytes } from '../../src/backends/nftables/bytes.ts';
import { elementsOf } from '../../src/backends/nftables/elements.ts';
import { SETS, TABLE } from '../../src/backends/nftables/names.ts';
import { layoutOf } from '../../src/backends/nftables/packet.ts';
import { sharedSets } from '../../src/backends/nftables/sets.ts';
import { rangeText } from '../../src/backends/nftables/source-ranges.ts';
import type { NftKernel } from '../../src/linux/nf-tables.ts';
import { MessageWriter } from '../../src/netfilter/attributes.ts';
import { readElements } from '../../src/netfilter/message-reading.ts';
import { BatchWriter, NFT } from '../../src/netfilter/messages.ts';

/** A message: ranges that are added to the set, or deleted. */
export type RangeMessage = readonly ['add' | 'delete', ...ranges: string[]];

const where = { ip: '203.0.113.1', port: 80, protocol: 'TCP' } as const;
const layout = layoutOf('IPv4');

/** Ranges of all lengths that a few addresses are in. */
const ranges = fc
  .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 28, max: 32 }))
  .map(([last, length]) => `10.0.0.${last & ~(2 ** (32 - length) - 1)}/${length}`);
const messages: fc.Arbitrary<RangeMessage> = fc
  .tuple(fc.constantFrom('add', 'delete'), fc.array(ranges, { minLength: 1, maxLength: 3 }))
  .map(([kind, list]) => [kind, ...list] as const as RangeMessage);
export const rangeBatches = fc.array(fc.array(messages, { minLength: 1, maxLength: 3 }), { maxLength: 12 });

/** Of each batch the numbers of the errors, and which ranges there are then. Leaves no table. */
export async function answersTo(kernel: NftKernel, batches: readonly (readonly RangeMessage[])[]): Promise<string[]> {
  const spec = sharedSets(layout).find(set => set.spec.name === SETS.allowed)!.spec;
  await commit(kernel, batch => {
    batch.newTable();
    batch.newSet(spec, 1);
  });
  const answers: string[] = [];
  for (const batch of batches) {
    const refusals = await commit(kernel, writer => {
      for (const message of batch) write(writer, message);
    });
    const errors = refusals.map(({ sequence, errno }) => `message ${sequence - 1}: ${errno}`);
    answers.push([...errors, ...(await rangesIn(kernel))].join(', '));
  }
  await commit(kernel, batch => batch.delTable());
  return answers;
}

async function commit(kernel: NftKernel, write: (batch: BatchWriter) => void) {
  const out = new MessageWriter(4096);
  const batch = new BatchWriter(out, { family: layout.protocol, table: TABLE, sequence: 0 });
  batch.beginBatch();
  write(batch);
  batch.endBatch();
  return kernel.commit(out.bytes());
}

function write(batch: BatchWriter, [kind, ...allowed]: RangeMessage): void {
  const list = batch.beginElements(kind === 'add' ? NFT.newElement : NFT.delElement, SETS.allowed);
  const elements = elementsOf({ kind: 'frontend', where, service: 'a/b', endpoints: [], allowed }, 'IPv4');
  for (const element of elements) batch.element(element);
  batch.endElements(list);
}

async function rangesIn(kernel: NftKernel): Promise<string[]> {
  const out = new MessageWriter(256);
  const question = new BatchWriter(out, { family: layout.protocol, table: TABLE, sequence: 0 });
  question.dump(NFT.getElement, SETS.allowed);
  const at = frontendBytes(where, 'IPv4').length;
  const elements = (await kernel.dump(out.bytes())).flatMap(message => readElements(message).elements);
  return elements.map(({ key, keyEnd }) => rangeText(key.subarray(at), keyEnd!.subarray(at))!).toSorted();
}
