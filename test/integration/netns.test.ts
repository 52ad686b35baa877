import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { createNamespaces, deleteNamespaces, obstacle, setResolvConf } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

describeUnless(await obstacle(), "a namespace's resolv.conf", () => {
  test('is what programs see there, and goes with it, and nothing is left of it', async () => {
    const names = ['one', 'other'].map(name => `kproxy-netns-${process.pid}-${name}`);
    await createNamespaces(names);
    try {
      for (const name of names) await setResolvConf(name, `search ${name}\n`);
      for (const name of names) {
        const { stdout } = await run('ip', ['netns', 'exec', name, 'cat', '/etc/resolv.conf']);
        expect(stdout.trim()).toBe(`search ${name}`);
      }
      await deleteNamespaces(names.slice(0, 1));
      expect(names.map(name => existsSync(`/etc/netns/${name}`))).toEqual([false, true]);
    } finally {
      await deleteNamespaces(names);
    }
    // Others may have files there.
    const left = existsSync('/etc/netns') ? await readdir('/etc/netns') : ['no directory'];
    expect(left).not.toEqual([]);
    expect(left.filter(name => names.includes(name))).toEqual([]);
  });
});
