import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ended, HostLab, MB, NOBODY } from './cni-host-lab.ts';
import type { Call } from './cni-host-main.ts';

let lab: HostLab;
beforeAll(() => {
  lab = new HostLab();
});
afterAll(() => lab.remove());

const read = (maxBytes: number, timeoutMs = 5000): Call => ({ name: 'readStdin', args: [{ maxBytes, timeoutMs }] });

describe('the standard input of the plugin', () => {
  it('is read to its end, 5 MB of it too', async () => {
    expect(await lab.ask([read(6 * MB)], `${'a'.repeat(5 * MB)}end`)).toEqual([
      { returned: { length: 5 * MB + 3, end: 'end' } },
    ]);
    expect(await lab.ask([read(10)], '0123456789')).toEqual([{ returned: '0123456789' }]);
    expect(await lab.ask([read(10)], '')).toEqual([{ returned: '' }]);
  });

  it('is refused when it is longer than the limit', async () => {
    expect(await lab.ask([read(10)], '0123456789a')).toEqual([
      { returned: { failure: 'too-large', message: 'File too large' } },
    ]);
  });

  it('is given up when nobody closes it', async () => {
    const child = lab.start([read(10, 200)]);
    child.stdin!.write('{');
    const { stdout } = await ended(child);
    expect(JSON.parse(stdout)).toEqual([{ returned: { failure: 'timeout', message: 'Operation timed out' } }]);
  });

  it('may be no UTF-8, have zeros, or end within a character', async () => {
    const bytes = Buffer.from([0x61, 0xff, 0x00, 0xc3, 0xa9, 0xf0, 0x9f]);
    const [gave] = await lab.ask([read(10)], bytes);
    expect(gave).toEqual({ returned: expect.stringMatching(/^a\ufffd\0é\ufffd+$/u) });
  });

  it('may be closed from the start: no file that is opened later takes its place', async () => {
    const command = ['sh', '-c', 'exec "$0" <&-', lab.program];
    const { stdout } = await ended(lab.start([read(10)], {}, command));
    expect(JSON.parse(stdout)).toEqual([{ returned: { failure: 'io', message: 'Bad file descriptor' } }]);
  });
});

describe('the standard output of the plugin', () => {
  it('is written whole to a slow reader', async () => {
    const child = lab.start([{ name: 'writeStdout', args: [{ letters: 3 * MB }] }]);
    const { stdout } = await ended(child);
    expect(stdout.slice(3 * MB)).toBe('[{"returned":true}]');
  });

  it('is known to be lost when nobody reads, when it is closed, and when the disk is full', async () => {
    const nobody = lab.start([read(10), { name: 'writeStdout', args: ['x'] }]);
    nobody.stdout!.destroy();
    await once(nobody.stdout!, 'close');
    nobody.stdin!.end();
    const [status] = await once(nobody, 'exit');
    const closed = await ended(lab.start([], {}, ['sh', '-c', 'exec "$0" >&-', lab.program]));
    const full = await ended(lab.start([], {}, ['sh', '-c', 'exec "$0" >/dev/full', lab.program]));
    expect([status, closed.status, full.status]).toEqual([9, 9, 9]);
  });
});

describe('an error that nobody caught', () => {
  it('is one CNI error on the standard output, and words on the standard error', async () => {
    const { status, stdout, stderr } = await ended(lab.start([{ name: 'throw', args: ['of "mine"\n'] }]));
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({ cniVersion: '1.1.0', code: 5, msg: 'RangeError: of "mine"\n' });
    expect(stderr).toMatch(/^kproxy-cni: RangeError: of "mine"/);
  });

  it('comes after a result only in words', async () => {
    const { stdout, stderr } = await ended(
      lab.start([
        { name: 'writeStdout', args: ['{}'] },
        { name: 'throw', args: ['x'] },
      ]),
    );
    expect({ stdout, stderr }).toEqual({ stdout: '{}', stderr: expect.stringContaining('RangeError: x') });
  });

  it('is what a JSON text of a million levels ends in, with a small stack too', async () => {
    for (const limit of ['unlimited', '8192', '512']) {
      const command = ['sh', '-c', `ulimit -s ${limit}; exec "$0"`, lab.program];
      const { status, stdout } = await ended(lab.start([{ name: 'recurse', args: [MB] }], {}, command));
      expect([limit, status, JSON.parse(stdout).code]).toEqual([limit, 1, 5]);
    }
  });
});

describe('what the plugin knows of its process', () => {
  it('has the variables, the name it was called by, pid and user', async () => {
    const names: Call[] = [{ name: 'environment' }, { name: 'program' }, { name: 'uid' }, { name: 'pid' }];
    const child = lab.start(names, { uid: NOBODY, env: { CNI_ARGS: 'a=b=c' } });
    const [environment, ...others] = JSON.parse((await ended(child)).stdout);
    expect(environment.returned).toMatchObject({ CNI_ARGS: 'a=b=c' });
    expect(others).toEqual([{ returned: lab.program }, { returned: NOBODY }, { returned: child.pid }]);
  });
});
