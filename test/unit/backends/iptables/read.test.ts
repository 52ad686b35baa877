import { describe, expect, it } from 'vitest';
import { readExisting, readPlan } from '../../../../src/backends/iptables/read.ts';
import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import type { run } from '../../../../src/linux/exec.ts';

/** What iptables-nft-save 1.8.9 says of a table with a native rule; it exits with 0. */
const INCOMPATIBLE = "# Table `nat' is incompatible, use 'nft' tool.\n";
const FILTER = `*filter\n${':OTHER - [0:0]\n'.repeat(50)}COMMIT\n# Completed on Fri Nov 20 23:58:07 2026\n`;

const printing = (text: string) => {
  const print: typeof run = async (_file, _args, options) => {
    options?.onOutput?.(Buffer.from(text));
    return { stdout: '', stderr: '' };
  };
  return { tools: toolsOf('nft', 'IPv4'), run: print };
};

describe('a table that iptables-nft-save cannot print', () => {
  it('is not an empty one', async () => {
    await expect(readPlan(printing(INCOMPATIBLE))).rejects.toMatchObject({ name: 'UnreadableError' });
  });

  it.each([INCOMPATIBLE + FILTER, FILTER + INCOMPATIBLE])('is noticed among others', async text => {
    await expect(readExisting(printing(text))).rejects.toMatchObject({ name: 'UnreadableError' });
  });

  it("is not what a rule's comment says", async () => {
    const rule = "-A INPUT -m comment --comment \"# Table `nat' is incompatible, use 'nft' tool.\" -j ACCEPT\n";
    await expect(readExisting(printing(FILTER.replace('COMMIT', `${rule}COMMIT`)))).resolves.toMatchObject({
      plan: new Map(),
    });
  });
});
