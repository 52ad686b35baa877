import { afterAll, beforeAll, expect, it } from 'vitest';
import { createNamespaces, deleteNamespaces, obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { warnOfPredecessors } from '../../src/predecessors.ts';
import { recordedLog } from '../fakes/recorded-log.ts';
import { describeUnless } from './requires.ts';

describeUnless(await obstacle(), 'what kube-proxy left on a node', () => {
  const netns = `kpx-left-${process.pid}`;
  const inside: typeof run = (file, args, options) => run(file, args, { ...options, netns });

  beforeAll(() => createNamespaces([netns]));
  afterAll(() => deleteNamespaces([netns]));

  async function linesOf(links: readonly string[] = []): Promise<string[]> {
    const log = recordedLog();
    await warnOfPredecessors({
      log,
      run: inside,
      exists: path => links.some(link => path === `/sys/class/net/${link}`),
    });
    return log.lines;
  }

  it('is not spoken of where there is nothing, or only other programs’ tables', async () => {
    await inside('nft', ['add', 'table', 'inet', 'kube-proxy-like']);
    expect(await linesOf(['eth0'])).toEqual([]);
  });

  it('in nftables is named for each family, with the command that removes it', async () => {
    await inside('nft', ['add', 'table', 'ip', 'kube-proxy']);
    await inside('nft', ['add', 'table', 'ip6', 'kube-proxy']);
    const lines = await linesOf();
    expect(lines).toHaveLength(2);
    for (const [i, table] of ['table ip kube-proxy', 'table ip6 kube-proxy'].entries()) {
      expect(lines[i]).toMatch(/^warn kube-proxy's nftables rules are on this node/);
      expect(lines[i]).toContain(`'nft delete ${table}'`);
      await inside('nft', ['delete', ...table.split(' ')]);
    }
    expect(await linesOf()).toEqual([]);
  });

  it('in IPVS is named by its link', async () => {
    expect(await linesOf(['kube-ipvs0'])).toEqual([
      expect.stringMatching(/^warn kube-proxy's IPVS addresses are on this node \(kube-ipvs0\)/),
    ]);
  });

  it('is not known without nft, and that is said', async () => {
    const log = recordedLog();
    const missing: typeof run = (_file, args, options) => inside('no-such-nft', args, options);
    await warnOfPredecessors({ log, run: missing, exists: () => false });
    expect(log.lines).toEqual(['info whether kube-proxy left nftables rules behind is not known']);
  });
});
