import { describe, expect, test } from 'vitest';
import { keptConfig } from '../../../../src/cni/agent/plan.ts';
import { readNetworkConfig } from '../../../../src/cni/config/network.ts';
import { AGENT_PROTOCOL, type CniInterface } from '../../../../src/cni/types.ts';

function keptBehind(...ofNode: readonly CniInterface[]) {
  const prevResult = { interfaces: [...ofNode, { name: 'eth0', sandbox: '/run/netns/x' }], ips: [] };
  const config = { name: 'kp', prevResult };
  const pod = { containerID: 'c1', ifname: 'eth0', netns: '/run/netns/x', args: {} };
  return keptConfig(readNetworkConfig({ protocol: AGENT_PROTOCOL, command: 'ADD', ...pod, config })).behind;
}

describe('what is kept of an interface that another plugin made', () => {
  test("P09 is the node's interface behind which that is: the first that is named, if any", () => {
    expect(keptBehind({ name: 'br0' }, { name: 'veth1', sandbox: '' })).toBe('br0');
    expect(keptBehind()).toBeUndefined();
  });

  test('P09 is nothing that is no link', () => {
    for (const name of ['all', 'default', '../lo', '']) expect(keptBehind({ name }), name).toBeUndefined();
  });
});
