import { describe, expect, test } from 'vitest';
import { readNetworkConfig } from '../../../../src/cni/config/network.ts';
import { type AgentRequest, CniError } from '../../../../src/cni/types.ts';

const request = (config: object, args: Record<string, string> = {}): AgentRequest => ({
  protocol: 1,
  command: 'ADD',
  containerID: 'c1',
  ifname: 'eth0',
  netns: '/run/netns/p1',
  args,
  config: { cniVersion: '1.1.0', name: 'kp', type: 'kproxy-cni', ...config },
});
const read = (config: object, args?: Record<string, string>) => readNetworkConfig(request(config, args));

function refusal(config: object, args?: Record<string, string>): CniError {
  try {
    read(config, args);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error('not refused');
}

describe('a network configuration', () => {
  test('has the defaults of the bridge plugin', () => {
    expect(read({})).toMatchObject({
      role: 'link',
      ipam: 'none',
      ipMasq: false,
      hostPorts: [],
      port: { bridge: 'cni0', isGateway: false, isDefaultGateway: false, forceAddress: false, isUp: true, dad: false },
    });
    expect(read({ isDefaultGateway: true }).port.isGateway).toBe(true);
  });

  test('names the pod as the runtime does', () => {
    const args = { K8S_POD_NAMESPACE: 'default', K8S_POD_NAME: 'web-0', K8S_POD_UID: 'u' };
    expect(read({}, args).pod).toEqual({ namespace: 'default', name: 'web-0', uid: 'u' });
  });

  test('asks for addresses of ours, of others, or none', () => {
    expect(read({ ipam: { type: 'kproxy-cni' } }).ipam).toBe('own');
    expect(read({ ipam: { type: 'host-local' } }).ipam).toBe('own');
    expect(read({ ipam: { type: 'dhcp' } }).ipam).toBe('other');
    expect(read({ ipam: {} }).ipam).toBe('none');
  });

  test('is chained behind whoever made the interface, and not behind others', () => {
    const made = { interfaces: [{ name: 'eth0', sandbox: '/run/netns/p1' }], ips: [] };
    expect(read({ prevResult: made }).role).toBe('chained');
    expect(read({ prevResult: { interfaces: [{ name: 'eth0' }], ips: [] } }).role).toBe('link');
    expect(read({ kproxyDelegated: true }).role).toBe('addresses');
  });

  test('A08, I03: wishes for addresses add up, of MACs the first counts', () => {
    const wishes = {
      mac: '02:00:00:00:00:05',
      args: { cni: { ips: ['10.1.1.2'], mac: '02:00:00:00:00:02' } },
      runtimeConfig: {
        ips: ['10.1.1.1/24'],
        mac: '02-00-00-00-00-01',
        'io.kubernetes.cri.pod-annotations': { 'kproxy-ts.dev/ips': '10.1.1.4, fd00::4' },
      },
    };
    const { requestedIPs, port } = read(wishes, { IP: '10.1.1.3', MAC: '02:00:00:00:00:03' });
    expect(requestedIPs).toEqual(['10.1.1.1', '10.1.1.2', '10.1.1.3', '10.1.1.4', 'fd00::4']);
    expect(port.mac).toBe('02:00:00:00:00:01');
    expect(read({ mac: '02:00:00:00:00:05' }, { MAC: '02:00:00:00:00:03' }).port.mac).toBe('02:00:00:00:00:03');
  });

  test('hostPorts: protocols in any case, addresses as they are written for short', () => {
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'TCP', hostIP: 'FD00:0::1' }];
    expect(read({ runtimeConfig: { portMappings } }).hostPorts).toEqual([
      { hostIP: 'fd00::1', hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    ]);
  });

  test('bandwidth: of the configuration before that of the runtime; zero is no limit', () => {
    const runtimeConfig = { bandwidth: { ingressRate: 10, ingressBurst: 20 } };
    expect(read({ runtimeConfig }).bandwidth).toMatchObject({ ingressRate: 10, egressRate: 0 });
    expect(read({ runtimeConfig, ingressRate: 5, ingressBurst: 6 }).bandwidth?.ingressRate).toBe(5);
    expect(read({ runtimeConfig: { bandwidth: { ingressRate: 0, ingressBurst: 0 } } }).bandwidth).toBeUndefined();
  });

  test.each([
    [{ mtu: 10 }, 'mtu'],
    [{ bridge: 'a b' }, 'bridge'],
    [{ bridge: 'sixteencharacter' }, 'bridge'],
    [{ bridge: 'br%d' }, 'bridge'],
    [{ bridge: 'brü' }, 'bridge'],
    [{ bridge: '..' }, 'bridge'],
    [{ isGateway: 'yes' }, 'isGateway'],
    [{ vlanTrunk: [{}] }, 'vlanTrunk[0]'],
    [{ vlanTrunk: [{ minID: 3 }] }, 'vlanTrunk[0]'],
    [{ ipam: { type: 'kproxy-cni', routes: [{ dst: 'x' }] } }, 'ipam.routes[0].dst'],
    [{ ipam: { type: 'kproxy-cni', routes: [{ dst: '10.0.0.0/8', gw: 'x' }] } }, 'ipam.routes[0].gw'],
    [{ runtimeConfig: { mac: '01:00:00:00:00:01' } }, 'runtimeConfig.mac'],
    [{ runtimeConfig: { portMappings: {} } }, 'runtimeConfig.portMappings'],
    [{ runtimeConfig: { bandwidth: { egressBurst: 4 } } }, 'egressRate'],
    [{ dns: { nameservers: [5] } }, 'dns.nameservers[0]'],
  ])('%j is refused by the name of the field', (config, field) => {
    const { code, message } = refusal(config);
    expect(code).toBe(7);
    expect(message).toContain(field);
  });
});
