import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { here } from './cni-host-lab.ts';

const BUILD = here('../../scripts/build-cni.mjs');

describe('the build of the plugin', () => {
  let directory = '';
  let entry = '';
  let out = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'cni-build-'));
    entry = join(directory, 'entry.ts');
    out = join(directory, 'out/kproxy-cni');
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const build = (env = process.env) => execFileSync(process.execPath, [BUILD, entry, out], { env, stdio: 'pipe' });
  const says = () => execFileSync(out, { encoding: 'utf8', input: '' });
  const write = (word: string) => writeFileSync(entry, `native.exit(native.host.writeStdout('${word}') ? 0 : 1);`);

  it('makes one static program, and nothing again when nothing changed', () => {
    write('first');
    build();
    expect(says()).toBe('first');
    expect(readdirSync(join(directory, 'out')).sort()).toEqual(['kproxy-cni', 'kproxy-cni.stamp']);
    const before = statSync(out).ino;
    build();
    expect(statSync(out).ino).toBe(before);
    rmSync(out);
    build();
    expect(says()).toBe('first');
  });

  it('replaces a program that is running', async () => {
    writeFileSync(entry, 'native.host.readStdin({ maxBytes: 9, timeoutMs: 60000 }); native.exit(7);');
    build();
    const running = spawn(out, { stdio: 'pipe' });
    await once(running, 'spawn');
    write('second');
    build();
    expect(says()).toBe('second');
    running.stdin.end();
    expect(await once(running, 'exit')).toEqual([7, null]);
  });

  it('says what is missing, and leaves what was there', () => {
    write('third');
    expect(() => build({ ...process.env, PATH: directory })).toThrow(
      "build-cni: musl-gcc can't be run; is musl-tools installed?",
    );
    expect(says()).toBe('second');
    expect(readdirSync(join(directory, 'out')).sort()).toEqual(['kproxy-cni', 'kproxy-cni.stamp']);
  });

  it('needs no library of the system', () => {
    const empty = mkdtempSync(join(directory, 'root-'));
    copyFileSync(out, join(empty, 'kproxy-cni'));
    expect(execFileSync('chroot', [empty, '/kproxy-cni'], { encoding: 'utf8' })).toBe('second');
  });
});
