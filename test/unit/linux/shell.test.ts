import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { Shell } from '../../../src/linux/shell.ts';

const shells: Shell[] = [];
afterEach(() => {
  for (const shell of shells.splice(0)) shell[Symbol.dispose]();
});
function start(path?: string): Shell {
  const shell = new Shell(path);
  shells.push(shell);
  return shell;
}
const options = { input: '', timeoutMs: 5000 };

describe('programs that a shell starts', () => {
  it('get arguments and input as they are, and give their output', async () => {
    const shell = start();
    const odd = `it's $HOME "quoted" \\ *`;
    expect(await shell.run('printf', ['%s|%s', odd, ''], options)).toEqual({ stdout: `${odd}|`, stderr: '' });
    const input = `$(date) \`date\`\n'EOF' ${odd}\n`;
    expect((await shell.run('cat', [], { ...options, input })).stdout.trimEnd()).toBe(input.trimEnd());
    const long = 'x'.repeat(99).concat('\n').repeat(20_000);
    expect((await shell.run('cat', [], { ...options, input: long })).stdout.length).toBeGreaterThanOrEqual(long.length);
  });

  it('run one after the other in one shell', async () => {
    const shell = start();
    const parents = await Promise.all([1, 2, 3].map(() => shell.run('sh', ['-c', 'echo $PPID'], options)));
    expect(new Set(parents.map(({ stdout }) => stdout.trim())).size).toBe(1);
  });

  it('fail with status and what they said', async () => {
    const shell = start();
    await expect(shell.run('sh', ['-c', 'echo no >&2; echo some; exit 3'], options)).rejects.toMatchObject({
      exitCode: 3,
      isNotFound: false,
      stdout: 'some\n',
      stderr: 'no\n',
      message: 'sh -c echo no >&2; echo some; exit 3: exit status 3: no',
    });
    await expect(shell.run('no-such-program', ['a'], options)).rejects.toMatchObject({
      exitCode: -1,
      isNotFound: true,
    });
    await expect(shell.run('sh', ['-c', 'kill -9 $$'], options)).rejects.toMatchObject({
      exitCode: -1,
      isNotFound: false,
    });
    expect((await shell.run('echo', ['on'], options)).stdout).toBe('on\n');
  });

  it('are killed when they take too long, and the next one runs in another shell', async () => {
    const shell = start();
    await expect(shell.run('sleep', ['100'], { input: '', timeoutMs: 100 })).rejects.toMatchObject({
      exitCode: -1,
      isTimeout: true,
    });
    expect((await shell.run('echo', ['on'], options)).stdout).toBe('on\n');
  });

  it('are started all the same when the shell was killed, or is none', async () => {
    const shell = start();
    const pid = Number((await shell.run('sh', ['-c', 'echo $PPID'], options)).stdout);
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).toBe('');
    // Until the end of its streams has been read, a call may still go to it.
    await delay(50);
    expect((await shell.run('echo', ['on'], options)).stdout).toBe('on\n');
    expect((await start('/nowhere/sh').run('echo', ['on'], options)).stdout).toBe('on\n');
  });

  it('end with the shell, which ends when it is let go', async () => {
    const shell = new Shell();
    const pid = Number((await shell.run('sh', ['-c', 'echo $PPID'], options)).stdout);
    shell[Symbol.dispose]();
    await expect.poll(() => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).toBe('');
  });
});
