import { describe, expect, it } from 'vitest';
import { DriftWatch } from '../../../../src/backends/iptables/drift.ts';
import { NftGeneration } from '../../../../src/backends/iptables/generation.ts';
import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import type { RunOptions, run } from '../../../../src/linux/exec.ts';
import { FakeIptables } from '../../../fakes/iptables.ts';

const chain = '*nat\n:KUBE-POSTROUTING - [0:0]\n-A KUBE-POSTROUTING -j RETURN\nCOMMIT\n';
const otherRule = '*nat\n-A PREROUTING -j ACCEPT\nCOMMIT\n';

function start({ variant = 'nft', isSilent = false }: { variant?: 'nft' | 'legacy'; isSilent?: boolean } = {}) {
  const kernel = new FakeIptables(toolsOf(variant, 'IPv4'));
  let saves = 0;
  let generation = 1;
  const counted = async (...args: Parameters<typeof run>) => {
    if (args[0].endsWith('-save')) saves += 1;
    return kernel.run(...args);
  };
  const watch = new DriftWatch({
    ...kernel.io,
    run: counted,
    generation: new NftGeneration({
      read: async () => (isSilent ? Promise.reject(new Error('silent')) : generation),
      onUnavailable: () => undefined,
    }),
  });
  const commit = async (input: string) => {
    await kernel.run(kernel.io.tools.restore, ['--noflush'], { input } satisfies RunOptions);
    generation += 1;
  };
  const savesFor = async (ask: Promise<boolean>) => {
    saves = 0;
    return { drifted: await ask, saves };
  };
  return { watch, commit, savesFor };
}

describe('DriftWatch', () => {
  it('reads nothing while nobody commits, and again nothing once what somebody committed was not ours', async () => {
    const { watch, commit, savesFor } = start();
    await commit(chain);
    const plan = await watch.read();
    expect(await savesFor(watch.hasDrifted(plan))).toEqual({ drifted: false, saves: 0 });
    // A commit of somebody else in another table.
    await commit('');
    expect(await savesFor(watch.hasDrifted(plan))).toEqual({ drifted: false, saves: 2 });
    expect(await savesFor(watch.hasDrifted(plan))).toEqual({ drifted: false, saves: 0 });
    await commit(otherRule);
    expect(await savesFor(watch.hasDrifted(plan))).toMatchObject({ drifted: true });
  });

  it.each([
    ['legacy has no generation', { variant: 'legacy' }],
    ['the kernel does not tell it', { isSilent: true }],
  ] as const)('compares the text at every look where %s', async (_, how) => {
    const { watch, commit, savesFor } = start(how);
    await commit(chain);
    const plan = await watch.read();
    expect(await savesFor(watch.hasDrifted(plan))).toEqual({ drifted: false, saves: 2 });
    expect(await savesFor(watch.hasDrifted(plan))).toEqual({ drifted: false, saves: 2 });
    await commit(otherRule);
    expect(await savesFor(watch.hasDrifted(plan))).toMatchObject({ drifted: true });
  });

  it('cannot tell by the text once we have written, and says so without reading', async () => {
    const { watch, commit, savesFor } = start({ variant: 'legacy' });
    await commit(chain);
    const plan = await watch.read();
    watch.noteWrite();
    expect(await savesFor(watch.hasDrifted(plan))).toEqual({ drifted: true, saves: 0 });
    expect(await savesFor(watch.hasDrifted(await watch.read()))).toEqual({ drifted: false, saves: 2 });
  });

  it('knows nothing of a Plan that it did not read', async () => {
    const { watch } = start();
    expect(await watch.hasDrifted(new Map())).toBe(true);
  });
});
