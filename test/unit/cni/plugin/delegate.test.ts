import { describe, expect, test } from 'vitest';
import { CODE } from '../../../../src/cni/types.ts';
import { call, machine, RESULT, withProgram } from '../../../fakes/plugin-calls.ts';
import type { Execution, FakePluginHost } from '../../../fakes/plugin-host.ts';

const config = { ipam: { type: 'static', Addresses: [1] }, prevResult: RESULT };
const error = (code: number, msg: string) => ({ status: 1, stdout: JSON.stringify({ code, msg, details: 'why' }) });
const failingOn =
  (verb: string, answer = error(42, 'no')) =>
  ({ command }: Execution) => {
    if (command === verb) return answer;
    return { status: 0, stdout: command === 'ADD' ? '{"ips":[{"address":"10.9.0.2/24"}]}' : '' };
  };

function both(...steps: readonly ((host: FakePluginHost) => void)[]) {
  return (host: FakePluginHost) => {
    for (const step of steps) step(host);
  };
}

describe('another IPAM plugin', () => {
  test('A20 is called with the full input; what it gives reaches the agent', () => {
    const { status, host } = call('ADD', { config, prepare: withProgram('static') });
    expect([status, host.happened]).toEqual([0, ['static ADD', 'agent ADD']]);
    expect(host.executions[0]).toMatchObject({ path: '/opt/cni/bin/static', command: 'ADD', stdin: host.stdin });
    expect(host.exchanges[0]?.request.ipamResult).toEqual({ ips: [{ address: '10.9.0.2/24' }] });
  });

  test('A20 its result may be of another version than ours', () => {
    const prepare = withProgram('static', () => ({
      status: 0,
      stdout: '{"cniVersion":"0.2.0","ip4":{"ip":"10.9.0.2/24","routes":[{"dst":"0.0.0.0/0"}]},"dns":{}}',
    }));
    const { host } = call('ADD', { config, prepare });
    expect(host.exchanges[0]?.request.ipamResult).toEqual({
      ips: [{ address: '10.9.0.2/24' }],
      routes: [{ dst: '0.0.0.0/0' }],
    });
  });

  test('A21 fails: its error is ours, its DEL is called, the agent is not asked', () => {
    const { printed, host } = call('ADD', { config, prepare: withProgram('static', failingOn('ADD')) });
    expect(printed).toEqual({ cniVersion: '1.1.0', code: 42, msg: 'no', details: 'why' });
    expect(host.happened).toEqual(['static ADD', 'static DEL']);
  });

  test.each([
    [{ status: 3, stdout: 'Traceback' }, CODE.io],
    [{ status: 0, stdout: 'Traceback' }, CODE.io],
    [{ status: 0, stdout: '{"ips":[{"address":"x"}]}' }, CODE.undecodable],
  ])('A21 says something else: %j', (answer, code) => {
    const { printed, host } = call('ADD', { config, prepare: withProgram('static', failingOn('ADD', answer)) });
    expect(printed).toMatchObject({ code, cniVersion: '1.1.0' });
    expect(host.happened).toEqual(['static ADD', 'static DEL']);
    if (code === CODE.io) expect(printed?.details).toBe('Traceback');
  });

  test('A21 is not there: CNI_PATH is named', () => {
    const { printed, host } = call('ADD', { config });
    expect(printed).toMatchObject({ code: CODE.badConfiguration, msg: expect.stringContaining('CNI_PATH') });
    expect(host.happened).toEqual([]);
    const outside = call('ADD', { config: { ipam: { type: '../bin/static' } }, prepare: withProgram('../bin/static') });
    expect(outside.printed).toMatchObject({ code: CODE.badConfiguration });
  });

  test('the agent fails after it: its DEL is called', () => {
    const agent = machine({ agent: () => ({ error: { code: 105, msg: 'conflict' } }) });
    const { printed, host } = call('ADD', { config, prepare: both(agent, withProgram('static')) });
    expect(printed).toMatchObject({ code: 105 });
    expect(host.happened).toEqual(['static ADD', 'agent ADD', 'static DEL']);
  });

  test('what the version cannot say is undone before the agent is asked', () => {
    const none = withProgram('static', () => ({ status: 0, stdout: '{"cniVersion":"0.2.0","dns":{}}' }));
    const { printed, host } = call('ADD', { config: { ipam: config.ipam, cniVersion: '0.2.0' }, prepare: none });
    expect(printed).toMatchObject({ code: CODE.incompatibleVersion });
    expect(host.happened).toEqual(['static ADD', 'static DEL']);
  });

  test('D12 its DEL fails: told, after our part was done', () => {
    const { printed, host } = call('DEL', { config, prepare: withProgram('static', failingOn('DEL')) });
    expect(printed).toMatchObject({ code: 42 });
    expect(host.happened).toEqual(['agent DEL', 'static DEL']);
  });

  test('D05 the plugin that gave the addresses, and no longer is the one, has its DEL with its own configuration', () => {
    const agent = machine({ agent: () => ({ formerIpam: { type: 'static', Addresses: [2] } }) });
    const changed = { IPAM: { type: 'kproxy-cni' }, keep: 1 };
    const { status, host } = call('DEL', { config: changed, prepare: both(agent, withProgram('static')) });
    expect([status, host.happened]).toEqual([0, ['agent DEL', 'static DEL']]);
    const { ipam, IPAM, keep, name } = JSON.parse(host.executions[0]!.stdin);
    expect([ipam, IPAM, keep, name]).toEqual([
      { type: 'static', Addresses: [2] },
      undefined,
      1,
      JSON.parse(String(host.stdin)).name,
    ]);
    expect(host.stderr).toContain('"static"');
    const gone = call('DEL', { config: changed, prepare: agent });
    expect([gone.status, gone.host.happened]).toEqual([0, ['agent DEL']]);
    expect(gone.host.stderr).toContain('CNI_PATH');
  });

  test('our DEL fails: its DEL is called all the same, and both are told', () => {
    const agent = machine({ agent: () => ({ error: { code: 103, msg: 'busy' } }) });
    const { printed, host } = call('DEL', { config, prepare: both(agent, withProgram('static', failingOn('DEL'))) });
    expect(printed).toMatchObject({ code: 103, msg: 'busy; no' });
    expect(host.happened).toEqual(['agent DEL', 'static DEL']);
  });

  test('D05 DEL without its program is a warning', () => {
    const { status, host } = call('DEL', { config });
    expect([status, host.happened]).toEqual([0, ['agent DEL']]);
    expect(host.stderr).toContain('CNI_PATH');
  });

  test.each(['CHECK', 'GC', 'STATUS'])('K08 G05 S04 %s is forwarded, its error is ours', command => {
    const wishes = { ...config, 'cni.dev/valid-attachments': [] };
    const fine = call(command, { config: wishes, prepare: withProgram('static') });
    expect([fine.status, fine.host.happened]).toEqual([0, [`agent ${command}`, `static ${command}`]]);
    const prepare = withProgram('static', failingOn(command));
    expect(call(command, { config: wishes, prepare }).printed).toMatchObject({ code: 42, msg: 'no' });
  });

  test('G05 the agent fails: GC is forwarded all the same', () => {
    const agent = machine({ agent: () => 'absent' });
    const wishes = { ...config, 'cni.dev/valid-attachments': [] };
    const { printed, host } = call('GC', { config: wishes, prepare: both(agent, withProgram('static')) });
    expect(printed).toMatchObject({ code: CODE.tryAgain });
    expect(host.happened).toEqual(['agent GC', 'static GC']);
  });
});
