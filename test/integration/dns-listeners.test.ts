import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

describeUnless(await obstacle(), 'listeners of names', () => {
  test('end though their address is no longer there, are made anew when it is back, and outlive a question from port 0', async () => {
    const script = fileURLToPath(new URL('./dns-listeners-main.ts', import.meta.url));
    const { stdout } = await run('unshare', ['--net', process.execPath, script], { timeoutMs: 30_000 });
    expect(JSON.parse(stdout)).toEqual({
      opened: [],
      closed: [],
      withoutListener: false,
      reopened: [],
      answered: [true, true],
      fromPort0: false,
      afterPort0: true,
    });
  });
});
