import { describe, expect, test } from 'vitest';
import { dump } from '../../../../src/backends/nftables/dumps.ts';
import { type ChoosingOptions, chooseTables } from '../../../../src/cni/rules/choosing.ts';
import { NetlinkError } from '../../../../src/linux/nfnetlink.ts';
import { createLogger } from '../../../../src/log.ts';
import { NFT } from '../../../../src/netfilter/messages.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';
import { IptablesKernel } from './iptables-kernel.ts';

const EPERM = 1;

function start(options: Partial<ChoosingOptions> = {}) {
  const lines: string[] = [];
  const log = createLogger({ level: 'info', destination: { write: (line: string) => void lines.push(line) } });
  const [kernel, iptables] = [new FakeNfTables(), new IptablesKernel()];
  const choose = () => chooseTables({ kernel, log, run: iptables.run, generation: async () => 1, ...options });
  return { kernel, iptables, lines, choose };
}

const failing = (errno: number) => async () => {
  throw new NetlinkError('NFT_MSG_GETGEN', errno, `errno ${errno}`);
};

describe('where the rules of pods are kept', () => {
  test('in nf_tables where the kernel takes our table; nothing is left of the trial, and nothing is said', async () => {
    const { kernel, lines, choose } = start();
    expect((await choose()).kind).toBe('nftables');
    expect(kernel.commits).toBe(1);
    expect(await dump(kernel, { type: NFT.getTable, family: 'IPv4', table: '' })).toEqual([]);
    expect(lines).toEqual([]);
  });

  test.each([22, 93, 95, 97])('in iptables where nf_tables answers with errno %i, which is said once', async errno => {
    const { lines, choose } = start({ generation: failing(errno) });
    expect((await choose()).kind).toBe('iptables');
    expect(lines).toEqual([expect.stringContaining(`iptables-legacy for IPv4 and IPv6, without nf_tables`)]);
  });

  test('in iptables where nf_tables is there, and takes no table of ours', async () => {
    const { kernel, lines, choose } = start();
    kernel.lacksTable = () => true;
    expect((await choose()).kind).toBe('iptables');
    expect(lines).toEqual([expect.stringContaining('the kernel refuses a table (IPv4): not supported')]);
  });

  test('nowhere where both are missing: the error says why', async () => {
    const { iptables, choose } = start({ generation: failing(93) });
    iptables.IPv4.isMissing = true;
    iptables.IPv6.isMissing = true;
    await expect(choose()).rejects.toThrow(/nf_tables: .*errno 93; iptables: IPv4: .*no such program/);
  });

  test('a refusal that says nothing about what the kernel can do is an error', async () => {
    await expect(start({ generation: failing(EPERM) }).choose()).rejects.toMatchObject({ errno: EPERM });
  });

  test('where it is told to, whatever there is', async () => {
    expect((await start({ wanted: 'iptables' }).choose()).kind).toBe('iptables');
    expect((await start({ wanted: 'nftables', generation: failing(22) }).choose()).kind).toBe('nftables');
  });
});
