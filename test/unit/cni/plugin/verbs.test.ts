import { describe, expect, test } from 'vitest';
import { deferredFileName, readDeferred } from '../../../../src/cni/deferred.ts';
import { SUPPORTED_VERSIONS } from '../../../../src/cni/spec/versions.ts';
import { type AgentReply, CODE } from '../../../../src/cni/types.ts';
import { resultProblems } from '../../../fakes/cni-results.ts';
import { call, K0, machine, RESULT } from '../../../fakes/plugin-calls.ts';
import type { FakePluginHost } from '../../../fakes/plugin-host.ts';

const answering = (agent: FakePluginHost['agent']) => machine({ agent });
const prevResult = { cniVersion: '1.1.0', ...RESULT };

describe('ADD', () => {
  test('the agent gets what the runtime said', () => {
    const { host } = call('ADD');
    expect(host.exchanges).toEqual([
      {
        socket: '/run/kproxy-ts/cni.sock',
        timeoutMs: 9000,
        request: {
          protocol: 1,
          command: 'ADD',
          containerID: 'c1',
          ifname: 'eth0',
          netns: '/run/netns/p1',
          args: {},
          config: K0,
        },
      },
    ]);
  });

  test.each(SUPPORTED_VERSIONS)('R01 R02 R03 the result in version %s', cniVersion => {
    const { status, printed } = call('ADD', { config: { cniVersion } });
    expect(status).toBe(0);
    expect(resultProblems(printed, cniVersion)).toEqual([]);
  });

  test('A04 R01 no addresses in 0.2.0: refused before anything is done', () => {
    const { printed, host } = call('ADD', { config: { cniVersion: '0.2.0', ipam: undefined } });
    expect(printed).toMatchObject({ cniVersion: '0.2.0', code: CODE.incompatibleVersion });
    expect(host.happened).toEqual([]);
  });

  test('R01 two addresses of one family in 0.2.0: undone, then refused', () => {
    const ips = [{ address: '10.88.0.2/24' }, { address: '10.89.0.2/24' }];
    const { printed, host } = call('ADD', {
      config: { cniVersion: '0.2.0' },
      prepare: answering(({ command }) => (command === 'ADD' ? { result: { ips } } : {})),
    });
    expect(printed).toMatchObject({ code: CODE.incompatibleVersion });
    expect(host.happened).toEqual(['agent ADD', 'agent DEL']);
    expect(host.exchanges[1]?.request).toMatchObject({ command: 'DEL', containerID: 'c1', netns: '/run/netns/p1' });
  });

  test.each([
    { ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: '10.89.0.0/24' }]] },
    { subnet: '10.88.0.0/24', ranges: [[{ subnet: '10.89.0.0/24' }]] },
    { ranges: [[{ subnet: 'fd00:1::/64' }], [{ subnet: '10.88.0.0/24' }], [{ Subnet: 'fd00:2::/64' }]] },
  ])('R01 two range sets of a family in 0.2.0: refused before anything is done: %j', ipam => {
    for (const type of ['host-local', 'kproxy-cni']) {
      const config = { ipam: { ...ipam, type } };
      const { printed, host } = call('ADD', { config: { ...config, cniVersion: '0.2.0' } });
      expect([printed?.code, host.happened]).toEqual([CODE.incompatibleVersion, []]);
      expect(call('ADD', { config }).status).toBe(0);
      expect(call('DEL', { config: { ...config, cniVersion: '0.2.0' } }).status).toBe(0);
    }
  });

  test('R01 one range set of each family in 0.2.0, one of them by the runtime', () => {
    const config = { cniVersion: '0.2.0', runtimeConfig: { ipRanges: [[{ subnet: 'fd00:1::/64' }]] } };
    expect(call('ADD', { config }).status).toBe(0);
    const two = { ...config, runtimeConfig: { ipRanges: [[{ subnet: '10.1.0.0/24' }]] } };
    expect(call('ADD', { config: two }).host.happened).toEqual([]);
  });

  test('R04 as the IPAM of another plugin: addresses alone', () => {
    const { printed, host } = call('ADD', { config: { type: 'bridge', ipam: { type: 'kproxy-cni' } } });
    expect(host.exchanges[0]?.request.config).toMatchObject({ kproxyDelegated: true });
    const { ips, routes } = RESULT;
    expect(printed).toEqual({ cniVersion: '1.1.0', ips: ips.map(({ interface: _, ...rest }) => rest), routes });
  });

  test('nobody else says that it is delegated', () => {
    const { host } = call('ADD', { config: { kproxyDelegated: true } });
    expect(host.exchanges[0]?.request.config).not.toHaveProperty('kproxyDelegated');
  });

  test('A22 prevResult reaches the agent in the form of 1.1.0', () => {
    const old = { ...prevResult, cniVersion: '0.3.1', ips: [{ version: '4', ...RESULT.ips[0] }], dns: {} };
    const { host } = call('ADD', { config: { cniVersion: '0.4.0', prevResult: old } });
    expect(host.exchanges[0]?.request.config.prevResult).toEqual({
      interfaces: RESULT.interfaces.map(({ mtu: _, ...rest }) => rest),
      ips: RESULT.ips,
      routes: [{ dst: '0.0.0.0/0', gw: '10.88.0.1' }],
    });
  });

  test.each([7, { ips: 7 }, { ips: [{ address: 'x' }] }, { interfaces: [{}] }, { dns: { search: [1] } }])(
    'a prevResult that is none: %j',
    broken => {
      expect(call('ADD', { config: { prevResult: broken } }).printed).toMatchObject({ code: CODE.undecodable });
      const del = call('DEL', { config: { prevResult: broken } });
      expect([del.status, del.host.happened]).toEqual([0, ['agent DEL']]);
      expect(del.host.stderr).toContain('prevResult');
    },
  );

  test.each(['absent', 'timeout', 'closed'] as const)('an agent that is %s: try again', failure => {
    const { printed } = call('ADD', { prepare: answering(() => failure) });
    expect(printed).toMatchObject({ code: CODE.tryAgain, cniVersion: '1.1.0' });
  });

  test.each([
    ...[
      'x',
      '{"protocol":1,"resul',
      '7',
      '{}',
      '{"protocol":1}',
      '{"protocol":1,"result":7}',
      '{"protocol":1,"error":7}',
    ],
    '{"protocol":1,"result":{"ips":[{"address":"x"}]}}',
    ...[undefined, 0, 2, '1'].map(protocol => JSON.stringify({ protocol, result: RESULT })),
    '{"protocol":2,"error":{"code":100,"msg":"means something else"}}',
  ])('Z06 an answer that makes no sense, or is of another protocol: %s', reply => {
    const { status, printed, host } = call('ADD', { prepare: answering(() => reply) });
    expect([status, printed?.code, host.happened]).toEqual([1, CODE.tryAgain, ['agent ADD', 'agent DEL']]);
    for (const verb of ['DEL', 'STATUS'])
      expect(call(verb, { prepare: answering(() => `${reply}?`) }).printed).toMatchObject({ code: CODE.tryAgain });
  });

  test('Z06 an agent that says no protocol has deleted nothing', () => {
    const { printed, host } = call('DEL', { prepare: answering(() => '{}') });
    expect([printed?.code, host.files.size]).toEqual([CODE.tryAgain, 0]);
  });

  test("the agent's error and warnings are told, a line each", () => {
    const reply: AgentReply = { error: { code: 102, msg: 'taken', details: 'by c9' }, warnings: ['one\ntwo', 'three'] };
    const { status, printed, host } = call('ADD', { config: { cniVersion: '0.3.1' }, prepare: answering(() => reply) });
    expect([status, printed]).toEqual([1, { cniVersion: '0.3.1', code: 102, msg: 'taken', details: 'by c9' }]);
    expect(host.stderr).toBe('kproxy-cni: one two\nkproxy-cni: three\n');
  });

  test('kproxyRuntimeDir is where the agent listens', () => {
    const { host } = call('ADD', { config: { kproxyRuntimeDir: '/run/other' } });
    expect(host.exchanges[0]?.socket).toBe('/run/other/cni.sock');
    expect(call('ADD', { config: { kproxyRuntimeDir: 'run' } }).printed).toMatchObject({ code: CODE.badConfiguration });
  });

  test('kproxyRuntimeDir leaves room for a socket, in bytes', () => {
    const added = (length: number, letter = 'x') =>
      call('ADD', { config: { kproxyRuntimeDir: `/${letter.repeat(length - 1)}` } });
    expect(added(98).status).toBe(0);
    for (const { printed, host } of [added(99), added(51, 'é')]) {
      expect(printed).toMatchObject({ code: CODE.badConfiguration, msg: expect.stringMatching(/^kproxyRuntimeDir: /) });
      expect(host.happened).toEqual([]);
    }
  });
});

describe('namespaces', () => {
  const prepare = (host: FakePluginHost) => {
    host.namespaces.set('/file', null).set('/alias', '4:1').set('/proc/self/fd/7', '4:3');
    host.namespaces.set('/proc/thread-self/ns/net', '4:3').set('run/p1', '4:3');
  };

  test.each([
    ['E09', '/run/netns/gone', CODE.badEnvironment],
    ['E10', '/file', CODE.badEnvironment],
    ['E11', '/proc/self/ns/net', CODE.netnsIsHosts],
    ['E11', '/alias', CODE.netnsIsHosts],
    ['relative', 'run/p1', CODE.badEnvironment],
  ])('%s %s', (_, path, code) => {
    for (const command of ['ADD', 'CHECK']) {
      const { printed, host } = call(command, { env: { CNI_NETNS: path }, config: { prevResult }, prepare });
      expect(printed).toMatchObject({ code, msg: expect.stringContaining('CNI_NETNS') });
      expect(host.happened).toEqual([]);
    }
    const { status, host } = call('DEL', { env: { CNI_NETNS: path }, prepare });
    expect([status, host.exchanges[0]?.request.netns]).toEqual([0, '']);
  });

  test.each([
    ['/proc/self/fd/7', '/proc/4711/fd/7'],
    ['/proc/thread-self/ns/net', '/proc/4711/ns/net'],
  ])("%s is given to the agent as %s, and the result has the runtime's", (path, given) => {
    const result = {
      interfaces: [{ name: 'eth0', sandbox: given }],
      ips: RESULT.ips.map(ip => ({ ...ip, interface: 0 })),
    };
    const { host, printed } = call('ADD', {
      env: { CNI_NETNS: path },
      prepare: host => {
        prepare(host);
        host.agent = () => ({ result });
      },
    });
    expect(host.exchanges[0]?.request.netns).toBe(given);
    expect(printed).toMatchObject({ interfaces: [{ name: 'eth0', sandbox: path }] });
  });
});

describe('DEL', () => {
  test.each(['absent', 'timeout', 'closed'] as const)('D10 an agent that is %s: kept for later', failure => {
    const { status, host } = call('DEL', { prepare: answering(() => failure) });
    expect([status, host.stdout, host.exchanges[0]?.timeoutMs]).toEqual([0, '', 3000]);
    const name = deferredFileName({ network: 'kp', containerID: 'c1', ifname: 'eth0' });
    const text = host.files.get(`/run/kproxy-ts/cni-deferred/${name}`);
    expect(readDeferred(text ?? '')).toEqual(host.exchanges[0]?.request);
  });

  test("D10 a path of this process isn't kept", () => {
    const { host } = call('DEL', {
      env: { CNI_NETNS: '/proc/self/fd/7' },
      prepare: host => {
        host.namespaces.set('/proc/self/fd/7', '4:3');
        host.agent = () => 'absent';
      },
    });
    expect(host.exchanges[0]?.request.netns).toBe('/proc/4711/fd/7');
    expect([...host.files.values()].map(text => readDeferred(text)?.netns)).toEqual(['']);
  });

  test('a DEL that cannot be kept is an error', () => {
    const { printed } = call('DEL', {
      prepare: host => {
        host.agent = () => 'absent';
        host.fault = new Error('no space left on device');
      },
    });
    expect(printed).toMatchObject({ code: CODE.storage, details: 'no space left on device' });
  });

  test("D07 prevResult `{}` is fine, and the agent's error is told", () => {
    expect(call('DEL', { config: { prevResult: {} } }).status).toBe(0);
    const prepare = answering(() => ({ error: { code: 103, msg: 'busy' } }));
    expect(call('DEL', { prepare }).printed).toEqual({ cniVersion: '1.1.0', code: 103, msg: 'busy' });
  });
});

describe('CHECK, GC, STATUS', () => {
  test('K02 versions and prevResult', () => {
    expect(call('CHECK', { config: { cniVersion: '0.3.1', prevResult } }).printed).toMatchObject({ code: 1 });
    expect(call('CHECK').printed).toMatchObject({ code: CODE.badConfiguration });
    const { status, host } = call('CHECK', { config: { prevResult } });
    expect([status, host.stdout]).toEqual([0, '']);
    expect(host.exchanges[0]?.request.config.prevResult).toEqual(RESULT);
  });

  test('K08 agent down, unknown container', () => {
    const code = (agent: FakePluginHost['agent']) =>
      call('CHECK', { config: { prevResult }, prepare: answering(agent) }).printed?.code;
    expect(code(() => 'absent')).toBe(CODE.tryAgain);
    expect(code(() => ({ error: { code: 3, msg: 'unknown' } }))).toBe(CODE.unknownContainer);
  });

  test('G03 both keys, the newer one wins', () => {
    const kept = (config: Record<string, unknown>) =>
      call('GC', { config }).host.exchanges[0]?.request.config['cni.dev/valid-attachments'];
    const [one, two] = [[{ containerID: 'c1', ifname: 'eth0' }], [{ containerID: 'c2', ifname: 'eth0', more: 1 }]];
    expect(kept({ 'cni.dev/attachments': one })).toEqual(one);
    expect(kept({ 'cni.dev/attachments': one, 'cni.dev/valid-attachments': two })).toEqual([
      { containerID: 'c2', ifname: 'eth0' },
    ]);
    expect(kept({ 'cni.dev/valid-attachments': [] })).toEqual([]);
  });

  test.each([undefined, null, 7, [7], [{ containerID: 'c1' }], [{ containerID: '', ifname: 'eth0' }]])(
    'G02 G03 no list that could be meant: %j',
    list => {
      const { printed, host } = call('GC', { config: { 'cni.dev/valid-attachments': list } });
      expect([printed?.code, host.happened]).toEqual([CODE.badConfiguration, []]);
    },
  );

  test.each(['GC', 'STATUS'])('G06 S01 %s is there since 1.1.0', command => {
    for (const cniVersion of ['0.4.0', '1.0.0'])
      expect(call(command, { config: { cniVersion } }).printed).toMatchObject({ code: 1, cniVersion });
  });

  test('S01 S03 STATUS', () => {
    const { status, host } = call('STATUS');
    expect([status, host.stdout, host.exchanges[0]?.timeoutMs]).toEqual([0, '', 1500]);
    for (const failure of ['absent', 'timeout', 'closed'] as const)
      expect(call('STATUS', { prepare: answering(() => failure) }).printed).toMatchObject({ code: CODE.unavailable });
    const gc = { config: { 'cni.dev/valid-attachments': [] }, prepare: answering(() => 'timeout') };
    expect(call('GC', gc).printed).toMatchObject({ code: CODE.tryAgain });
  });
});
