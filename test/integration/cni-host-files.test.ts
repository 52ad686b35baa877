import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { ended, HostLab, MB } from './cni-host-lab.ts';
import type { Call } from './cni-host-main.ts';
import { describeUnless } from './requires.ts';

let lab: HostLab;
beforeAll(() => {
  lab = new HostLab();
});
afterAll(() => lab.remove());

describe('programs that the plugin runs', () => {
  function script(name: string, body: string): string {
    const path = join(lab.directory, name);
    writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    return path;
  }

  it('get the standard input and give their output, 5 MB both ways', async () => {
    expect(await lab.askOne('execute', [script('echo', 'cat; exit 3'), { letters: 5 * MB }, 60_000])).toEqual({
      returned: { status: 3, stdout: { length: 5 * MB, end: 'xxx' } },
    });
  });

  it('need not read, may say much first, and their standard error is ours', async () => {
    const talker = script('talker', 'head -c 3000000 /dev/zero | tr "\\0" y; echo words >&2');
    const { stdout, stderr } = await ended(
      lab.start([{ name: 'execute', args: [talker, { letters: 5 * MB }, 60_000] }]),
    );
    expect(JSON.parse(stdout)).toEqual([{ returned: { status: 0, stdout: { length: 3 * MB, end: 'yyy' } } }]);
    expect(stderr).toBe('words\n');
  });

  it('have our environment, where overrides win, and the usual SIGPIPE', async () => {
    const tell = script('tell', 'echo "$CNI_COMMAND $CNI_IFNAME $NEW"; grep SigIgn /proc/self/status');
    const child = lab.start([{ name: 'execute', args: [tell, '', 60_000, { CNI_COMMAND: 'DEL', NEW: 'n' }] }], {
      env: { CNI_COMMAND: 'ADD', CNI_IFNAME: 'eth0' },
    });
    const [{ returned }] = JSON.parse((await ended(child)).stdout);
    expect(returned).toEqual({ status: 0, stdout: expect.stringMatching(/^DEL eth0 n\nSigIgn:\t0{16}\n$/) });
  });

  it('tell how a signal ended them', async () => {
    expect(await lab.askOne('execute', [script('killed', 'kill -9 $$'), '', 60_000])).toEqual({
      returned: { status: 137, stdout: '' },
    });
  });

  it('that are none are told from those that are', async () => {
    const file = join(lab.directory, 'plain');
    writeFileSync(file, 'not a program', { mode: 0o644 });
    const wrong = join(lab.directory, 'wrong');
    writeFileSync(wrong, '\x7fELF', { mode: 0o755 });
    const calls = [file, wrong, lab.directory, '/missing', '/bin/true'];
    expect(
      (await lab.ask(calls.map(path => ({ name: 'isExecutable', args: [path] })))).map(
        gave => 'returned' in gave && gave.returned,
      ),
    ).toEqual([false, true, false, false, true]);
    expect(
      await lab.ask([file, wrong, '/missing'].map(path => ({ name: 'execute', args: [path, '', 60_000] }))),
    ).toEqual([
      { returned: { failure: 'io', message: 'Permission denied' } },
      { returned: { failure: 'io', message: 'Exec format error' } },
      { returned: { failure: 'io', message: 'No such file or directory' } },
    ]);
  });
});

describe('a file that the plugin leaves', () => {
  it('is there whole, replaces its predecessor, in directories of 0700, and nothing else is', async () => {
    const place = join(lab.directory, 'made/for/it');
    const write = (content: unknown): Call => ({ name: 'writeDurably', args: [place, 'a.json', content] });
    expect(await lab.ask([write('old'), write({ letters: 100_000 })])).toEqual([{}, {}]);
    expect(readFileSync(join(place, 'a.json'), 'utf8')).toBe('x'.repeat(100_000));
    expect(readdirSync(place)).toEqual(['a.json']);
    expect(
      [place, join(lab.directory, 'made'), join(place, 'a.json')].map(path => statSync(path).mode & 0o777),
    ).toEqual([0o700, 0o700, 0o600]);
  });

  it('is not there when it cannot be: a file in the way of the lab.directory, a name with a path', async () => {
    const file = join(lab.directory, 'in-the-way');
    writeFileSync(file, '');
    expect(await lab.askOne('writeDurably', [join(file, 'below'), 'a', 'x'])).toEqual({
      thrown: `cannot write ${file}/below/a: Not a directory`,
    });
    expect(await lab.askOne('writeDurably', [lab.directory, '../a', 'x'])).toEqual({
      thrown: expect.stringContaining('cannot write'),
    });
    expect(existsSync(join(lab.directory, '../a'))).toBe(false);
  });
});

describeUnless(await obstacle(), 'a file that the plugin leaves on a disk of its own', () => {
  it('F06 a full disk is an error with the system’s words, and leaves nothing of the file', async () => {
    const disk = join(lab.directory, 'disk');
    mkdirSync(disk);
    const said = await lab.askWithin(
      `mount -t tmpfs -o size=64k tmpfs ${disk}`,
      [{ name: 'writeDurably', args: [disk, 'a', { letters: MB }] }],
      `echo; ls -A ${disk} | wc -l`,
    );
    expect(said).toBe(`[{"thrown":"cannot write ${disk}/a: No space left on device"}]\n0\n`);
  });

  it('F06 so is a disk that is read-only', async () => {
    const disk = join(lab.directory, 'disk');
    const said = await lab.askWithin(`mount -t tmpfs -o ro tmpfs ${disk}`, [
      { name: 'writeDurably', args: [disk, 'a', 'x'] },
      { name: 'writeDurably', args: [`${disk}/new`, 'a', 'x'] },
    ]);
    const words = 'Read-only file system';
    expect(JSON.parse(said)).toEqual([
      { thrown: `cannot write ${disk}/a: ${words}` },
      { thrown: `cannot write ${disk}/new/a: ${words}` },
    ]);
  });
});
