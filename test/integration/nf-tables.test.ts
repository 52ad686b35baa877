import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

describeUnless(await obstacle(), 'the nftables backend over the real kernel', () => {
  it("reads what it wrote, by steps as by a cold start; answers as the one in memory; isolates what is refused; notices others' changes; probes", async () => {
    const script = fileURLToPath(new URL('./nf-tables-main.ts', import.meta.url));
    const { stdout } = await run('unshare', ['--net', process.execPath, script], { timeoutMs: 55_000 });
    const { seed, problems } = JSON.parse(stdout);
    expect(problems, `seed ${seed}`).toEqual([]);
  });
});
