import { describe, expect, test } from 'vitest';
import { DELEGATE_TIMEOUT_MS } from '../../../../src/cni/plugin/delegate.ts';
import { type AgentReply, CODE } from '../../../../src/cni/types.ts';
import { call, RESULT, withProgram } from '../../../fakes/plugin-calls.ts';
import type { Execution, FakePluginHost } from '../../../fakes/plugin-host.ts';

const config = { ipam: { type: 'slow' } };
const gives = { status: 0, stdout: '{"ips":[{"address":"10.9.0.2/24"}]}' };
const ended = { failure: 'ended', message: 'Interrupted system call' } as const;
const overtime = { failure: 'timeout', message: 'Operation timed out' } as const;
const on =
  <T>(verb: string, answer: T) =>
  ({ command }: Execution) =>
    command === verb ? answer : gives;

/** A machine where the agent's ADD goes so; `slow` works. */
const agentThat = (add: (host: FakePluginHost) => AgentReply | 'ended') => (host: FakePluginHost) => {
  withProgram('slow')(host);
  host.agent = ({ command }) => (command === 'ADD' ? add(host) : {});
};

describe('a signal that ends the plugin', () => {
  test('F12 while another IPAM plugin is at work: its DEL, one document, the agent is not asked', () => {
    const { status, printed, host } = call('ADD', { config, prepare: withProgram('slow', on('ADD', ended)) });
    expect([status, host.happened]).toEqual([1, ['slow ADD', 'slow DEL']]);
    expect(printed).toMatchObject({ cniVersion: '1.1.0', code: CODE.tryAgain, msg: expect.stringContaining('slow') });
    expect(host.isShielded).toBe(true);
  });

  test.each<[string, (host: FakePluginHost) => AgentReply | 'ended']>([
    ['before the agent answers', () => 'ended'],
    ['as the agent answers', host => Object.assign(host, { isSignalled: true }) && { result: RESULT }],
  ])('F12 %s: the agent and the other plugin take back what they gave', (_when, add) => {
    const { status, printed, host } = call('ADD', { config, prepare: agentThat(add) });
    expect([status, printed?.code]).toEqual([1, CODE.tryAgain]);
    expect(host.happened).toEqual(['slow ADD', 'agent ADD', 'agent DEL', 'slow DEL']);
    expect(host.exchanges[1]?.request).toMatchObject({ command: 'DEL', netns: '/run/netns/p1' });
  });

  test('F12 an agent that cannot be asked to undo does it later', () => {
    const prepare = (host: FakePluginHost) => {
      host.agent = ({ command }) => (command === 'ADD' ? 'ended' : 'timeout');
    };
    const { status, host } = call('ADD', { prepare });
    expect([status, host.files.size]).toEqual([1, 1]);
  });

  test.each(['DEL', 'CHECK', 'GC', 'STATUS'])('F12 during a %s, which is then no success', command => {
    const wishes = { ...config, prevResult: RESULT, 'cni.dev/valid-attachments': [] };
    const { status, printed, host } = call(command, {
      config: wishes,
      prepare: withProgram('slow', on(command, ended)),
    });
    expect([status, printed?.code]).toEqual([1, CODE.tryAgain]);
    expect(host.isShielded).toBe(false);
  });

  test('F12 before the input is read: nothing is begun', () => {
    const { status, printed, host } = call('ADD', { stdin: ended });
    expect([status, printed?.code, host.happened]).toEqual([1, CODE.tryAgain, []]);
  });
});

describe('the time of another IPAM plugin', () => {
  test('N04 each verb has a limit; an ADD with all that may follow ends within two minutes', () => {
    const agentMs = 9000 + 3000;
    expect(DELEGATE_TIMEOUT_MS.ADD + DELEGATE_TIMEOUT_MS.DEL + agentMs).toBeLessThan(120_000);
    const { printed, host } = call('ADD', { config, prepare: withProgram('slow', on('ADD', overtime)) });
    expect(host.executions.map(({ command, timeoutMs }) => [command, timeoutMs])).toEqual([
      ['ADD', DELEGATE_TIMEOUT_MS.ADD],
      ['DEL', DELEGATE_TIMEOUT_MS.DEL],
    ]);
    expect(printed).toMatchObject({ code: CODE.tryAgain, msg: expect.stringMatching(/^slow: .* ADD in 60 s/) });
  });

  test('N04 a DEL that takes too long is told after ours was done', () => {
    const { printed, host } = call('DEL', { config, prepare: withProgram('slow', on('DEL', overtime)) });
    expect([printed?.code, host.happened]).toEqual([CODE.tryAgain, ['agent DEL', 'slow DEL']]);
  });
});
