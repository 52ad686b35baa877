import { describe, expect, it } from 'vitest';
import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import { runLocked } from '../../../../src/backends/iptables/xtables-lock.ts';
import { run } from '../../../../src/linux/exec.ts';
import { FakeIptables } from '../../../fakes/iptables.ts';

const tools = toolsOf('legacy', 'IPv4');
const input = '*nat\n:A - [0:0]\n-A A -j RETURN\nCOMMIT\n';
const call = (kernel: FakeIptables, signal?: AbortSignal) =>
  runLocked({ file: tools.restore, args: ['--noflush'], options: { input, timeoutMs: 1000 }, run: kernel.run, signal });

describe('runLocked', () => {
  it('tries again until a tool that gives up at once finds the lock free', async () => {
    const kernel = new FakeIptables(tools);
    kernel.lockedCalls = 5;
    await call(kernel);
    expect(kernel.restores).toEqual([input]);
    expect(kernel.save('nat')).toContain('-A A -j RETURN');
  });

  it('passes on every other failure at once', async () => {
    const kernel = new FakeIptables(tools);
    kernel.refuse.add('RETURN');
    await expect(call(kernel)).rejects.toMatchObject({ exitCode: 2 });
    expect(kernel.restores).toHaveLength(1);
  });

  it('ends its wait when it is told to, with the reason', async () => {
    const kernel = new FakeIptables(tools);
    kernel.lockedCalls = Number.POSITIVE_INFINITY;
    const stop = new AbortController();
    const reason = new Error('pause');
    setTimeout(() => stop.abort(reason), 10);
    await expect(call(kernel, stop.signal)).rejects.toBe(reason);
    expect(kernel.restores).toEqual([]);
  });

  it('lets a tool that works finish though it is told to stop', async () => {
    const stop = new AbortController();
    const options = { timeoutMs: 5000 };
    const running = runLocked({
      file: 'sh',
      args: ['-c', 'sleep 0.1; echo done'],
      options,
      run: async (...args) => {
        setTimeout(() => stop.abort(new Error('pause')), 10);
        return run(...args);
      },
      signal: stop.signal,
    });
    expect(await running).toMatchObject({ stdout: 'done\n' });
  });

  it('ends a tool that works for too long', async () => {
    const options = { timeoutMs: 50 };
    const running = runLocked({ file: 'sleep', args: ['60'], options, run });
    await expect(running).rejects.toMatchObject({ name: 'ExecError', isTimeout: true });
  });
});
