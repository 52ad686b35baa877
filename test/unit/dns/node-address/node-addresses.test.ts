import { createSocket } from 'node:dgram';
import { expect, it } from 'vitest';
import { addressText } from '../../../../src/backends/nftables/bytes.ts';
import { dump, elementsOf } from '../../../../src/backends/nftables/dumps.ts';
import { SETS } from '../../../../src/dns/node-address/names.ts';
import { NodeAddresses } from '../../../../src/dns/node-address/node-addresses.ts';
import { NodeAddressError } from '../../../../src/dns/node-address/transaction.ts';
import type { NftKernel } from '../../../../src/linux/nf-tables.ts';
import { createLogger } from '../../../../src/log.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import { NFT } from '../../../../src/netfilter/messages.ts';
import { FakeLoopback } from '../../../fakes/loopback.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';

const log = createLogger({ level: 'silent' as 'error', destination: { write: () => undefined } });
/** Addresses that any machine has: a sign of life needs a socket at them. */
const [FIRST, SECOND] = ['127.0.0.2', '127.0.0.3'];

function newNode(kernel: NftKernel = new FakeNfTables()) {
  const loopback = new FakeLoopback();
  return { node: new NodeAddresses({ log, kernel, loopback }), loopback, kernel };
}

const at = (...ips: string[]) => ips.map(ip => ({ ip, port: 53 }));

async function guarded(kernel: NftKernel, family: IPFamily = 'IPv4'): Promise<string[] | undefined> {
  const where = { family, table: 'kproxy-ts-dns' };
  if ((await dump(kernel, { type: NFT.getTable, ...where })).length === 0) return undefined;
  const elements = await elementsOf(kernel, { ...where, set: SETS.addresses });
  return elements.map(({ key }) => addressText(key)).toSorted();
}

it('has exactly the addresses that were set last, and nobody else’s', async () => {
  const { node, loopback, kernel } = newNode();
  await using _ = node;
  loopback.foreign.add(SECOND!);
  const states = [[FIRST], [FIRST], [SECOND], [FIRST, SECOND], []] as string[][];
  const found = [];
  for (const ips of states) {
    await node.set(at(...ips));
    found.push([[...loopback.ours], await guarded(kernel)]);
  }
  expect(found).toEqual([
    [[FIRST], [FIRST]],
    [[FIRST], [FIRST]],
    [[], [SECOND]],
    [[FIRST], [FIRST, SECOND]],
    [[], undefined],
  ]);
  expect([...loopback.foreign]).toEqual([SECOND]);
});

it('puts back what somebody took away', async () => {
  const { node, loopback, kernel } = newNode();
  await using _ = node;
  await node.set(at(FIRST!));
  loopback.ours.clear();
  (kernel as FakeNfTables).clear();
  await node.set(at(FIRST!));
  expect([[...loopback.ours], await guarded(kernel)]).toEqual([[FIRST], [FIRST]]);
});

it('says what the kernel lacks, and serves the other family all the same', async () => {
  const fake = new FakeNfTables();
  const refusing: NftKernel = {
    batchBytes: fake.batchBytes,
    // A table of the family ip6 that goes with its process.
    commit: batch =>
      batch.includes(Buffer.from('goes with')) || batch[16 + 20 + 16] === 10 ? refuse(batch) : fake.commit(batch),
    dump: request => fake.dump(request),
    close: () => fake.close(),
  };
  const { node, loopback } = newNode(refusing);
  await using _ = node;
  await expect(node.set(at(FIRST!, '::1'))).rejects.toThrow(NodeAddressError);
  expect([...loopback.ours]).toEqual([FIRST]);
});

const refuse = async (batch: Buffer) => [{ sequence: batch.length > 0 ? 2 : 0, errno: 95 }];

it('a sign of life is a packet to itself; without a socket to send it by, the caller hears of it', async () => {
  const { node } = newNode();
  await node.set(at(FIRST!));
  await node.beat();
  await node[Symbol.asyncDispose]();
  // Nothing is left to say then.
  await expect(node.beat()).resolves.toBeUndefined();
});
void createSocket;
