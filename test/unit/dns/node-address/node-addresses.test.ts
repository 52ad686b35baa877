import { expect, it } from 'vitest';
import { dump, elementsOf } from '../../../../src/backends/nftables/dumps.ts';
import { SETS } from '../../../../src/dns/node-address/names.ts';
import { NodeAddresses } from '../../../../src/dns/node-address/node-addresses.ts';
import { SignsOfLife } from '../../../../src/dns/node-address/signs-of-life.ts';
import type { NftKernel } from '../../../../src/linux/nf-tables.ts';
import { createLogger } from '../../../../src/log.ts';
import { addressText } from '../../../../src/net/address-bytes.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import { NFT, TABLE_FLAGS } from '../../../../src/netfilter/messages.ts';
import { FakeLoopback } from '../../../fakes/loopback.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';

const log = createLogger({ level: 'silent' as 'error', destination: { write: () => undefined } });
/** Addresses that any machine has: a sign of life needs a socket at them. */
const FIRST = '127.0.0.2';
const SECOND = '127.0.0.3';

function newNode(kernel: NftKernel = new FakeNfTables()) {
  const loopback = new FakeLoopback();
  const signs = new SignsOfLife();
  return { node: new NodeAddresses({ log, signs, kernel, loopback }), signs, loopback, kernel };
}

const at = (...ips: string[]) => ips.map(ip => ({ ip, port: 53 }));

async function guarded(kernel: NftKernel, family: IPFamily = 'IPv4'): Promise<string[] | undefined> {
  const where = { family, table: 'kproxy-ts-dns' };
  if ((await dump(kernel, { type: NFT.getTable, ...where })).length === 0) return undefined;
  const elements = await elementsOf(kernel, { ...where, set: SETS.addresses });
  return elements.map(({ key }) => addressText(key)).toSorted();
}

it("has exactly the addresses that were set last, and leaves others' alone", async () => {
  const { node, loopback, kernel } = newNode();
  await using _ = node;
  loopback.foreign.add(SECOND);
  const states: string[][] = [[FIRST], [FIRST], [SECOND], [FIRST, SECOND], []];
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
  await node.set(at(FIRST));
  loopback.ours.clear();
  (kernel as FakeNfTables).clear();
  await node.set(at(FIRST));
  expect([[...loopback.ours], await guarded(kernel)]).toEqual([[FIRST], [FIRST]]);
});

it('says what the kernel lacks, and serves the other family all the same', async () => {
  const kernel = new FakeNfTables();
  kernel.lacksTable = (family, flags) => family === 10 && flags === TABLE_FLAGS.owner;
  const { node, signs } = newNode(kernel);
  await using _ = node;
  const why = 'the kernel refuses a table that goes with its process, which takes Linux 5.12 (IPv6): not supported';
  await expect(node.set(at(FIRST, '::1'))).rejects.toThrow(why);
  expect(await guarded(kernel)).toEqual([FIRST]);
  await signs.give();
});

it('the same again costs no transaction', async () => {
  const kernel = new FakeNfTables();
  const { node, signs } = newNode(kernel);
  await using _ = node;
  await node.set(at(FIRST, '::1'));
  const { attempts } = kernel;
  await node.set(at(FIRST, '::1'));
  await signs.give();
  expect(kernel.attempts).toBe(attempts);
});

it('a sign of life is a packet to itself, as long as there are sockets for it', async () => {
  const { node, signs } = newNode();
  await node.set(at(FIRST));
  await signs.give();
  await node[Symbol.asyncDispose]();
  await signs[Symbol.asyncDispose]();
  // Nothing is left to say then.
  await expect(signs.give()).resolves.toBeUndefined();
});
