/** The end of the plugin's process by a signal, and that of programs that it runs: with the host's functions by name. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ended, HostLab } from './cni-host-lab.ts';
import type { Call } from './cni-host-main.ts';

const HOUR = 3_600_000;
/** Enough for a shell to say that it is ready, on a slow machine. */
const OVERTIME_MS = 2000;

let lab: HostLab;
beforeAll(() => {
  lab = new HostLab();
});
afterAll(() => lab.remove());

function script(name: string, body: string): string {
  const path = join(lab.directory, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

const failure = (kind: string) => ({ returned: { failure: kind, message: expect.any(String) } });

/**
 * What the program and its own have said on the standard error when nobody has that any more: they are gone. `isReady` comes with the first
 * word of it.
 */
function listen(child: ChildProcess) {
  const isReady = Promise.withResolvers<void>();
  let said = '';
  child.stderr!.on('data', chunk => {
    said += String(chunk);
    isReady.resolve();
  });
  return { isReady: isReady.promise, said: once(child.stderr!, 'close').then(() => said) };
}

/** What the calls gave when a signal came as soon as the program that they run had said a word. */
async function signalled(calls: readonly Call[], signal: NodeJS.Signals = 'SIGTERM') {
  const child = lab.start(calls);
  const out = text(child.stdout!);
  const { isReady, said } = listen(child);
  await isReady;
  child.kill(signal);
  return { gave: JSON.parse(await out), said: await said };
}

/** Ends well by SIGTERM, and says so; the child that it has ends by it, too. */
const POLITE = 'sleep 1000 & trap "echo ended >&2; exit 0" TERM; echo ready >&2; wait';
/** Nothing but SIGKILL ends it, or its child; which has the standard error as long as it lives. */
const DEAF = '(trap "" TERM; exec sleep 1000) & trap "" TERM; echo ready >&2; while :; do wait; done';

describe('a program that the plugin runs', () => {
  it.each([
    ['that is at work', POLITE],
    ['that has closed its output', `exec >&-; ${POLITE}`],
  ])('%s is ended after its time, with what it started', async (what, body) => {
    const child = lab.start([{ name: 'execute', args: [script(`late-${what.length}`, body), '', OVERTIME_MS] }]);
    const { stdout, stderr } = await ended(child);
    expect(JSON.parse(stdout)).toEqual([failure('timeout')]);
    expect(stderr).toBe('ready\nended\n');
  });

  it('is killed when it does not hear', async () => {
    const child = lab.start([{ name: 'execute', args: [script('deaf', DEAF), '', OVERTIME_MS] }]);
    const { stdout, stderr } = await ended(child);
    expect([JSON.parse(stdout), stderr]).toEqual([[failure('timeout')], 'ready\n']);
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('F12: is ended by SIGTERM when %s comes', async signal => {
    const calls: Call[] = [{ name: 'execute', args: [script('polite', POLITE), '', HOUR] }, { name: 'isEnding' }];
    const { gave, said } = await signalled(calls, signal);
    expect([gave, said]).toEqual([[failure('ended'), { returned: true }], 'ready\nended\n']);
  });

  it('F12: is ended where another process holds its output that is not of its group', async () => {
    const body = 'setsid sleep 3 2>&- & echo ready >&2; wait';
    const { gave } = await signalled([{ name: 'execute', args: [script('holder', body), '', HOUR] }]);
    expect(gave).toEqual([failure('ended')]);
  });

  it('F12: nothing begins after the signal, until what is undone is shielded', async () => {
    const echo = script('echo', 'cat');
    const calls: Call[] = [
      { name: 'execute', args: [script('polite-2', POLITE), '', HOUR] },
      { name: 'execute', args: [echo, 'x', HOUR] },
      { name: 'exchange', args: ['/missing', 'x', HOUR] },
      { name: 'readStdin', args: [{ maxBytes: 9, timeoutMs: HOUR }] },
      { name: 'shield' },
      { name: 'isEnding' },
      { name: 'execute', args: [echo, 'y', HOUR] },
      { name: 'exchange', args: ['/missing', 'x', HOUR] },
    ];
    const { gave } = await signalled(calls);
    expect(gave.slice(0, 2)).toEqual([failure('ended'), failure('ended')]);
    expect(gave.slice(3)).toEqual([
      failure('ended'),
      {},
      { returned: false },
      { returned: { status: 0, stdout: 'y' } },
      failure('absent'),
    ]);
  });

  it('F12: is not disturbed by a signal while it is shielded', async () => {
    const body = 'echo ready >&2; cat; [ "$(ps -o pgid= -p $$)" -eq $$ ] && sleep 0.3; echo done';
    const calls: Call[] = [{ name: 'shield' }, { name: 'execute', args: [script('calm', body), 'x', HOUR] }];
    const { gave } = await signalled(calls);
    expect(gave).toEqual([{}, { returned: { status: 0, stdout: 'xdone\n' } }]);
  });

  it('begins with the signals as the plugin found them, whatever that did with them', async () => {
    const tell = script(
      'tell',
      'grep -E "^Sig(Blk|Ign|Cgt)" /proc/$PPID/status >&2; grep -E "^Sig(Blk|Ign)" /proc/self/status',
    );
    const command = ['env', '--ignore-signal=HUP,CHLD', lab.program];
    const { stdout } = await ended(lab.start([{ name: 'execute', args: [tell, '', HOUR] }], {}, command));
    const status = 'SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n';
    expect(JSON.parse(stdout)).toEqual([{ returned: { status: 0, stdout: status } }]);
  });
});

describe('a signal while the plugin waits', () => {
  it('F12: for its input', async () => {
    const child = lab.start([{ name: 'readStdin', args: [{ maxBytes: 9, timeoutMs: HOUR }] }]);
    const out = text(child.stdout!);
    await waits(child);
    child.kill();
    expect(JSON.parse(await out)).toEqual([failure('ended')]);
  });

  it('F12: for the agent', async () => {
    const path = join(lab.directory, 'socket');
    const asked = Promise.withResolvers<Socket>();
    const server = createServer(socket => void socket.once('data', () => asked.resolve(socket)));
    await once(server.listen(path), 'listening');
    const child = lab.start([{ name: 'exchange', args: [path, 'x', HOUR] }]);
    const out = text(child.stdout!);
    const socket = await asked.promise;
    const closed = once(socket, 'end');
    child.kill();
    expect(JSON.parse(await out)).toEqual([failure('ended')]);
    await closed;
    socket.destroy();
    server.close();
  });

  it('F12: for somebody who reads', async () => {
    const child = lab.start([{ name: 'shield' }, { name: 'writeStdout', args: [{ letters: 1_000_000 }] }]);
    await waits(child);
    child.kill();
    const said = await text(child.stdout!);
    expect(said.replace(/^x+/, '')).toBe('[{},{"returned":false}]');
    expect(said.length).toBeLessThan(1_000_000);
  });
});

/** Until the process sleeps in poll(2), read(2) or write(2): it has begun, and has nothing to do. */
async function waits({ pid }: ChildProcess): Promise<void> {
  const isWaiting = () => {
    const [state, command] = execFileSync('ps', ['-o', 'state=,comm=', '-p', String(pid)], { encoding: 'utf8' }).split(
      /\s+/,
    );
    return state === 'S' && command === 'host';
  };
  while (!isWaiting()) await new Promise(resolve => setImmediate(resolve));
}
