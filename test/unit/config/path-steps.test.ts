import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pathSteps } from '../../../src/config/path-steps.ts';

let directory: string;
beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'kproxy-steps-')));
});
afterEach(() => rm(directory, { recursive: true }));

/** The steps below the test's directory, as paths relative to it. */
async function steps(path: string): Promise<string[]> {
  const all = await pathSteps(join(directory, path));
  return all
    .filter(step => `${step.directory}/`.startsWith(`${directory}/`))
    .map(step => join(step.directory, step.name).slice(directory.length + 1));
}

test('a plain file: every directory entry from the root on', async () => {
  await mkdir(join(directory, 'a'));
  await writeFile(join(directory, 'a/config.yaml'), '');
  expect(await steps('a/config.yaml')).toEqual(['a', 'a/config.yaml']);
  expect((await pathSteps(join(directory, 'a/config.yaml')))[0]?.directory).toBe('/');
});

test('the symlinks of a ConfigMap volume', async () => {
  await mkdir(join(directory, '..2026_01'));
  await writeFile(join(directory, '..2026_01/config.conf'), '');
  await symlink('..2026_01', join(directory, '..data'));
  await symlink('..data/config.conf', join(directory, 'config.conf'));
  expect(await steps('config.conf')).toEqual(['config.conf', '..data', '..2026_01', '..2026_01/config.conf']);
});

test('links that are absolute, go up, or lie on the way', async () => {
  await mkdir(join(directory, 'v1/deep'), { recursive: true });
  await writeFile(join(directory, 'v1/real.yaml'), '');
  await symlink('../real.yaml', join(directory, 'v1/deep/link.yaml'));
  await symlink(join(directory, 'v1'), join(directory, 'current'));
  expect(await steps('current/deep/link.yaml')).toEqual([
    'current',
    'v1',
    'v1/deep',
    'v1/deep/link.yaml',
    'v1/real.yaml',
  ]);
});

test('what does not exist, and links in a circle, end', async () => {
  await symlink('b', join(directory, 'a'));
  await symlink('a', join(directory, 'b'));
  expect((await steps('a')).length).toBe(41);
  expect(await steps('missing/file')).toEqual(['missing', 'missing/file']);
});
