import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { oomScoreSetter, setOomScoreAdj } from '../../../src/linux/oom-score.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

let directory: string;
let path: string;
let log: ReturnType<typeof recordedLog>;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kproxy-oom-'));
  path = join(directory, 'oom_score_adj');
  log = recordedLog();
});
afterEach(() => rm(directory, { recursive: true }));

test('writes the value', async () => {
  await writeFile(path, '0\n');
  await setOomScoreAdj(-999, { path, log });
  expect(await readFile(path, 'utf8')).toBe('-999');
  expect(log.lines).toEqual([]);
});

test('writes nothing when it is so already, which needs no privilege', async () => {
  await writeFile(path, '-999\n');
  await setOomScoreAdj(-999, { path, log });
  expect(await readFile(path, 'utf8')).toBe('-999\n');
});

test('a file that cannot be written is a warning', async () => {
  await setOomScoreAdj(-999, { path: directory, log });
  expect(log.lines).toHaveLength(1);
  expect(log.lines[0]).toMatch(/^warn oomScoreAdj -999 is not in effect: EISDIR/);
});

test('a value that stays the same over changes of the configuration is warned of once', async () => {
  const set = oomScoreSetter({ path: directory, log });
  for (const value of [-999, -999, -997, -999]) await set(value);
  expect(log.lines.map(line => line.replace(/ is not .*/, ''))).toEqual([
    'warn oomScoreAdj -999',
    'warn oomScoreAdj -997',
    'warn oomScoreAdj -999',
  ]);
});

/** Sets a value in a process of its own, without capabilities, and tells what became of it. */
function inProcess(value: number): { readonly value: string; readonly log: string } {
  const module = join(import.meta.dirname, '../../../src/linux/oom-score.ts');
  const script = `
    import { readFileSync } from 'node:fs';
    const { setOomScoreAdj } = await import(${JSON.stringify(module)});
    if (process.getuid() === 0) process.setuid(65534);
    const lines = [];
    await setOomScoreAdj(${value}, { log: { warn: (_, line) => lines.push(line) } });
    console.log(JSON.stringify({ value: readFileSync('/proc/self/oom_score_adj', 'utf8').trim(), log: lines.join() }));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as { value: string; log: string };
}

test('the kernel refuses a low value from a process without CAP_SYS_RESOURCE, which goes on with a warning', () => {
  const { value, log: line } = inProcess(-1000);
  expect(value).not.toBe('-1000');
  expect(line).toBe('oomScoreAdj -1000 is not in effect: to lower it, the process needs CAP_SYS_RESOURCE');
});
