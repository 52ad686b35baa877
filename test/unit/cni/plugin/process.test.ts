import { describe, expect, test } from 'vitest';
import { SUPPORTED_VERSIONS } from '../../../../src/cni/spec/versions.ts';
import { CODE } from '../../../../src/cni/types.ts';
import { call, K0, machine, RESULT } from '../../../fakes/plugin-calls.ts';

describe('VERSION, and no command', () => {
  test('V01 lists every version that is supported', () => {
    const { status, printed } = call('VERSION', { stdin: '{"cniVersion":"1.1.0"}' });
    expect(status).toBe(0);
    expect(printed).toEqual({ cniVersion: '1.1.0', supportedVersions: [...SUPPORTED_VERSIONS] });
  });

  test('V02 echoes the version of the input', () => {
    expect(call('VERSION', { stdin: '{"cniVersion":"0.4.0"}' }).printed).toMatchObject({ cniVersion: '0.4.0' });
  });

  test.each(['', '{', '7', '{"cniVersion":1}', { failure: 'io', message: 'EBADF' } as const])(
    'V03 an input that says nothing (%j) is answered with the newest version',
    stdin => {
      const { status, printed, host } = call('VERSION', { stdin, env: { CNI_PATH: undefined } });
      expect(status).toBe(0);
      expect(printed).toMatchObject({ cniVersion: '1.1.0' });
      expect(host.stdinLimits[0]?.timeoutMs).toBeLessThanOrEqual(1000);
    },
  );

  test.each([undefined, ''])('V04 CNI_COMMAND %j: words on the standard error, status 0', command => {
    const { status, host } = call(command);
    expect([status, host.stdout]).toEqual([0, '']);
    expect(host.stderr).toContain('0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0');
  });

  test('V04 an unknown command is named', () => {
    const { status, printed } = call('FOO', { config: { cniVersion: '0.4.0' } });
    expect(status).toBe(1);
    expect(printed).toMatchObject({
      code: CODE.badEnvironment,
      msg: expect.stringContaining('FOO'),
      cniVersion: '0.4.0',
    });
  });

  test('V06 variables that nobody knows have no effect', () => {
    const { status, printed } = call('ADD', { env: { TRACEPARENT: 'x', CNI_NEW: 'y' } });
    expect([status, printed]).toEqual([0, { cniVersion: '1.1.0', ...RESULT }]);
  });

  test('V07 nobody reads the result: the status says so', () => {
    expect(call('ADD', { prepare: machine({ isStdoutOpen: false }) }).status).toBe(1);
  });
});

describe('the environment', () => {
  const failure = (env: Record<string, string | undefined>, command = 'ADD') => {
    const { status, printed, host } = call(command, { env });
    expect(status).toBe(1);
    expect(printed).toMatchObject({ cniVersion: '1.1.0', code: CODE.badEnvironment });
    expect(host.happened).toEqual([]);
    return String(printed?.msg);
  };

  test.each(['ADD', 'CHECK'])('E01 %s names every variable that is missing', command => {
    const names = ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'];
    const message = failure(Object.fromEntries(names.map(name => [name, undefined])), command);
    for (const name of names) {
      expect(message).toContain(name);
      expect(failure({ [name]: undefined }, command)).toMatch(new RegExp(`missing: ${name}$`));
    }
  });

  test('E01 DEL needs no namespace, and no CNI_PATH', () => {
    const { status, host } = call('DEL', { env: { CNI_NETNS: undefined, CNI_PATH: undefined } });
    expect([status, host.stdout, host.exchanges[0]?.request.netns]).toEqual([0, '', '']);
  });

  test.each(['a/b', '', '-x', 'a b', '../x', 'ä'])('E02 CNI_CONTAINERID %j', id => {
    expect(failure({ CNI_CONTAINERID: id })).toContain('CNI_CONTAINERID');
    expect(failure({ CNI_CONTAINERID: id }, 'DEL')).toContain('CNI_CONTAINERID');
  });

  test('E02 250 characters are fine', () => {
    expect(call('ADD', { env: { CNI_CONTAINERID: 'c'.repeat(250) } }).status).toBe(0);
  });

  test.each(['a'.repeat(16), '..', '.', 'a/b', 'a:b', 'a b', 'ä', 'eth%d'])('E03 CNI_IFNAME %j', name => {
    expect(failure({ CNI_IFNAME: name })).toContain('CNI_IFNAME');
  });

  test('E03 15 characters are fine', () => {
    expect(call('ADD', { env: { CNI_IFNAME: 'a'.repeat(15) } }).status).toBe(0);
  });

  test.each(['A', '=x', 'FOO=1', 'FOO=1;IgnoreUnknown=0', 'IgnoreUnknown=maybe;FOO=1'])('E14 CNI_ARGS %j', text => {
    expect(failure({ CNI_ARGS: text })).toContain('CNI_ARGS');
    expect(call('DEL', { env: { CNI_ARGS: text } }).status).toBe(0);
  });

  test('E14 C03 known keys, and others with IgnoreUnknown, are passed on', () => {
    const text = 'K8S_POD_UID=u;IP=10.88.0.9;FOO=a=b;IgnoreUnknown=1;K8S_POD_NAME=n';
    const { host } = call('ADD', { env: { CNI_ARGS: text } });
    expect(host.exchanges[0]?.request.args).toEqual({
      K8S_POD_UID: 'u',
      IP: '10.88.0.9',
      FOO: 'a=b',
      IgnoreUnknown: '1',
      K8S_POD_NAME: 'n',
    });
  });

  test('E16 whoever is not root is told at once', () => {
    for (const command of ['ADD', 'DEL', 'STATUS']) {
      const { printed, host } = call(command, { prepare: machine({ uid: 1000 }) });
      expect([printed?.code, host.happened]).toEqual([CODE.kernel, []]);
    }
    const { printed, host } = call('ADD', { prepare: machine({ canAdminister: false }) });
    expect(printed).toMatchObject({ code: CODE.kernel, msg: expect.stringContaining('CAP_NET_ADMIN') });
    expect(host.happened).toEqual([]);
    expect(call('ADD', { prepare: machine({ agent: () => 'denied' }) }).printed).toMatchObject({
      code: CODE.kernel,
    });
  });

  test('G06 GC needs CNI_PATH alone; S01 STATUS needs nothing', () => {
    expect(failure({ CNI_PATH: undefined }, 'GC')).toContain('CNI_PATH');
    expect(call('GC', { config: { 'cni.dev/valid-attachments': [] } }).status).toBe(0);
    expect(call('STATUS', { env: { CNI_PATH: undefined } }).status).toBe(0);
  });
});

describe('the standard input', () => {
  test.each(['', '{', `\uFEFF${JSON.stringify(K0)}`, `${JSON.stringify(K0)}x`, '[]', '7', 'null'])('E04 %j', stdin => {
    const { status, printed, host } = call('ADD', { stdin });
    expect([status, printed?.code, printed?.cniVersion, host.happened]).toEqual([1, CODE.undecodable, '1.1.0', []]);
  });

  test.each([undefined, '', '-x', 'a b', '../x', 7])('E05 name %j', name => {
    expect(call('ADD', { config: { name } }).printed).toMatchObject({ code: CODE.badConfiguration });
  });

  test('E06 D06 a version that nobody knows', () => {
    for (const command of ['ADD', 'DEL'])
      for (const cniVersion of ['9.9.9', '1.1']) {
        const { printed, host } = call(command, { config: { cniVersion } });
        expect(printed).toMatchObject({ code: CODE.incompatibleVersion, cniVersion });
        expect(printed?.details).toContain('1.1.0');
        expect(host.happened).toEqual([]);
      }
    expect(call('ADD', { config: { cniVersion: 1 } }).printed).toMatchObject({ code: CODE.undecodable });
  });

  test('E06 no version is 0.1.0', () => {
    const { printed } = call('ADD', { config: { cniVersion: undefined } });
    expect(printed).toMatchObject({ cniVersion: '0.1.0', ip4: { ip: '10.88.0.2/24' } });
  });

  test('E07 keys in another case are known, the exact ones win, others stay', () => {
    const { host } = call('ADD', {
      stdin: JSON.stringify({
        CNIVERSION: '1.1.0',
        Name: 'kp',
        TYPE: 'kproxy-cni',
        BRIDGE: 'no',
        bridge: 'cni0',
        Unknown: 1,
        args: { x: { Ips: 1 } },
        IPAM: { Type: 'host-local', RANGES: [[{ SubNet: '10.88.0.0/24' }]], Routes: [{ DST: '::/0' }] },
        runtimeconfig: { PortMappings: [{ HostPort: 1, CONTAINERPORT: 2 }], new: { A: 1 } },
      }),
    });
    expect(host.exchanges[0]?.request.config).toEqual({
      cniVersion: '1.1.0',
      name: 'kp',
      type: 'kproxy-cni',
      bridge: 'cni0',
      Unknown: 1,
      args: { x: { Ips: 1 } },
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/24' }]], routes: [{ dst: '::/0' }] },
      runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 2 }], new: { A: 1 } },
    });
  });

  test('E08 too much, or never closed', () => {
    const code = (failure: 'too-large' | 'timeout') => call('ADD', { stdin: { failure, message: '' } });
    expect(code('too-large').printed).toMatchObject({ code: CODE.badConfiguration });
    expect(code('timeout').printed).toMatchObject({ code: CODE.io });
    expect(code('timeout').host.stdinLimits).toEqual([{ maxBytes: 16 * 1024 * 1024, timeoutMs: 8000 }]);
    expect(call('ADD', { config: { big: 'x'.repeat(5_000_000) } }).status).toBe(0);
  });
});
