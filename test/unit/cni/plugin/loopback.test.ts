import { describe, expect, test } from 'vitest';
import { SUPPORTED_VERSIONS } from '../../../../src/cni/spec/versions.ts';
import { CODE } from '../../../../src/cni/types.ts';
import { resultProblems } from '../../../fakes/cni-results.ts';
import { call, machine, RESULT } from '../../../fakes/plugin-calls.ts';

const config = { type: 'loopback', ipam: undefined };

describe('the plugin loopback', () => {
  test.each(SUPPORTED_VERSIONS)('ADD brings lo up, and says so in %s', cniVersion => {
    const { status, printed, host } = call('ADD', { config: { ...config, cniVersion } });
    expect([status, host.happened, host.lo.isUp]).toEqual([0, ['lo /run/netns/p1 up'], true]);
    expect(resultProblems(printed, cniVersion)).toEqual([]);
  });

  test('the result', () => {
    const interfaces = [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: '/run/netns/p1' }];
    const four = { address: '127.0.0.1/8', interface: 0 };
    const six = { address: '::1/128', interface: 0 };
    expect(call('ADD', { config }).printed).toEqual({ cniVersion: '1.1.0', interfaces, ips: [four, six] });
    const without = call('ADD', { config, prepare: machine({ lo: { isUp: false, hasIPv6: false } }) });
    expect(without.printed).toEqual({ cniVersion: '1.1.0', interfaces, ips: [four] });
  });

  test('the name of the program is enough; a prevResult is passed through', () => {
    const { printed, host } = call('ADD', {
      config: { prevResult: RESULT },
      prepare: machine({ program: '/opt/cni/bin/loopback' }),
    });
    expect(printed).toEqual({ cniVersion: '1.1.0', ...RESULT });
    expect(host.happened).toEqual(['lo /run/netns/p1 up']);
  });

  test('CHECK: down is an error', () => {
    const wishes = { ...config, prevResult: RESULT };
    expect(call('CHECK', { config: wishes }).printed).toMatchObject({ code: CODE.kernel });
    const up = call('CHECK', { config: wishes, prepare: machine({ lo: { isUp: true, hasIPv6: true } }) });
    expect([up.status, up.host.happened]).toEqual([0, ['lo /run/netns/p1 read']]);
  });

  test('DEL brings it down; a namespace that is gone, or our own, is left alone', () => {
    expect(call('DEL', { config }).host.happened).toEqual(['lo /run/netns/p1 down']);
    for (const CNI_NETNS of ['/gone', '', '/proc/self/ns/net']) {
      const { status, host } = call('DEL', { config, env: { CNI_NETNS } });
      expect([status, host.happened]).toEqual([0, []]);
    }
  });

  test("the environment is checked, and the kernel's refusal told", () => {
    expect(call('ADD', { config, env: { CNI_IFNAME: '' } }).printed).toMatchObject({ code: CODE.badEnvironment });
    expect(call('ADD', { config, env: { CNI_NETNS: '/proc/self/ns/net' } }).printed).toMatchObject({
      code: CODE.netnsIsHosts,
    });
    const refused = call('ADD', { config, prepare: machine({ fault: new Error('EPERM') }) });
    expect(refused.printed).toMatchObject({ code: CODE.kernel, details: 'EPERM' });
    expect(call('STATUS', { config }).status).toBe(0);
  });
});
