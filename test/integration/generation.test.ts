import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

describeUnless(await obstacle(), 'the generation of nf_tables', () => {
  it("tells our own commits, of both families, from everybody else's", async () => {
    const script = fileURLToPath(new URL('./generation-main.ts', import.meta.url));
    const { stdout } = await run('unshare', ['--net', process.execPath, script], { timeoutMs: 50_000 });
    const untouched = { hasDrifted: false, reads: 0 };
    expect(JSON.parse(stdout)).toEqual({
      'nothing written': [untouched, untouched],
      'both wrote, at the same time, in batches': [untouched, untouched],
      'both changed something, again and again': [untouched, untouched],
      // Nothing is known of the tables' text, so only a whole reading can tell.
      'somebody else made a chain, and we had written since the tables were read': [
        { hasDrifted: true, reads: 0 },
        { hasDrifted: true, reads: 0 },
      ],
      'somebody else made a table, and we had not written': [
        { hasDrifted: false, reads: 2 },
        { hasDrifted: false, reads: 2 },
      ],
      'the same again': [untouched, untouched],
      'somebody else flushed a chain of ours in IPv4': [
        { hasDrifted: true, reads: 2 },
        { hasDrifted: false, reads: 2 },
      ],
    });
  });
});
