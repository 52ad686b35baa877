import { describe, expect, test } from 'vitest';
import { CODE } from '../../../../src/cni/types.ts';
import { call, machine, withProgram } from '../../../fakes/plugin-calls.ts';
import type { FakePluginHost } from '../../../fakes/plugin-host.ts';

/** What the agent was asked to be: with whose addresses, and whether for another plugin. */
function served(program: string, type: string | undefined, ipam: string) {
  const prepare = (host: FakePluginHost) => {
    machine({ program })(host);
    // Whoever calls one of these again, calls itself.
    for (const name of ['host-local', 'my-net', 'my-ipam']) withProgram(name)(host);
  };
  const { host, printed } = call('ADD', { config: { type, ipam: { type: ipam } }, prepare });
  const { kproxyDelegated, ipam: asked } = host.exchanges[0]?.request.config ?? {};
  return { code: printed?.code, ipam: (asked as { type?: string })?.type, isDelegated: kproxyDelegated === true, host };
}

describe('the name that the program is called by', () => {
  test.each([
    ['kproxy-cni', 'kproxy-cni', 'kproxy-cni', 'kproxy-cni'],
    ['kproxy-cni', 'kproxy-cni', 'host-local', 'host-local'],
    ['/opt/cni/bin/bridge', 'bridge', 'host-local', 'host-local'],
    ['/opt/cni/bin/bridge', 'bridge', 'kproxy-cni', 'kproxy-cni'],
    ['/opt/cni/bin/my-net', 'my-net', 'my-net', 'kproxy-cni'],
    ['/usr/lib/wrapped', 'kproxy-cni', 'kproxy-cni', 'kproxy-cni'],
    ['', 'kproxy-cni', 'kproxy-cni', 'kproxy-cni'],
  ])('is its type: %s with type %s and ipam %s makes the interface', (program, type, ipam, own) => {
    expect(served(program, type, ipam)).toMatchObject({ ipam: own, isDelegated: false, host: { executions: [] } });
  });

  test.each([
    ['/opt/cni/bin/kproxy-cni', 'bridge', 'kproxy-cni'],
    ['/opt/cni/bin/host-local', 'bridge', 'host-local'],
    ['/opt/cni/bin/my-ipam', 'macvlan', 'my-ipam'],
    ['/opt/cni/bin/my-ipam', 'kproxy-cni', 'my-ipam'],
    ['/usr/lib/wrapped', 'bridge', 'kproxy-cni'],
  ])('R04 is its ipam.type: %s with type %s and ipam %s gives addresses', (program, type, ipam) => {
    const expected = { ipam: 'kproxy-cni', isDelegated: true, host: { executions: [] } };
    expect(served(program, type, ipam)).toMatchObject(expected);
  });

  test.each([
    ['bridge', 'static'],
    ['bridge', 'host-local'],
    ['', 'static'],
    [undefined, 'static'],
  ])('is neither type %s nor ipam %s: refused before anything is begun', (type, ipam) => {
    const { code, host } = served('/opt/cni/bin/kproxy-cni', type, ipam);
    expect([code, host.happened]).toEqual([CODE.badConfiguration, []]);
  });

  test('is neither: a DEL does its part, and says so', () => {
    const { status, host } = call('DEL', { config: { type: 'bridge', ipam: { type: 'host-local' } } });
    expect([status, host.happened]).toEqual([0, ['agent DEL']]);
    expect(host.stderr).toContain('"bridge"');
  });
});
