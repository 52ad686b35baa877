import { describe, expect, test } from 'vitest';
import { differencesOf, differenceText } from '../../../src/config/differences.ts';
import { parseConfiguration } from '../../../src/config/load.ts';

const HEADER = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
const NODE_HEADER = '---\napiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\n';

function differences(before: string, after: string): string[] {
  const [from, to] = [before, after].map(text => parseConfiguration(HEADER + text, 'a').fields);
  if (from === undefined || to === undefined) throw new Error('two configurations');
  return differencesOf(from, to).map(differenceText);
}

describe('differences', () => {
  test('a field that has another default in another mode waits for it', () => {
    const found = differences('mode: iptables', 'mode: nftables');
    expect(found).toContain('nodePortAddresses: [] → [primary] (at the next start)');
    expect(differences('', 'nodePortAddresses: [primary]')).toEqual(['nodePortAddresses: [] → [primary] (now)']);
  });

  test('there are none between two ways to say the same', () => {
    const written = `mode: ''
bindAddress: ""
healthzBindAddress: 0.0.0.0
metricsBindAddress: 127.0.0.1:10249
detectLocalMode: ClusterCIDR
iptables: { syncPeriod: 30s, minSyncPeriod: 0s, masqueradeBit: 14 }
conntrack: { tcpEstablishedTimeout: 1440m }
${NODE_HEADER}watch: { endpoints: auto }\n`;
    expect(differences('', written)).toEqual([]);
  });

  test.each([
    ['', 'iptables: { syncPeriod: 90s }', 'iptables.syncPeriod: 30s → 1m30s (now)'],
    ['', 'iptables: { minSyncPeriod: 250ms }', 'iptables.minSyncPeriod: 0s → 250ms (now)'],
    ['', 'iptables: { masqueradeAll: true }', 'iptables.masqueradeAll: false → true (now)'],
    [
      'clusterCIDR: 10.0.0.0/8',
      'clusterCIDR: 10.0.0.0/8,fd00::/8',
      'clusterCIDR: 10.0.0.0/8 → 10.0.0.0/8,fd00::/8 (now)',
    ],
    ['', 'nodePortAddresses: [primary]', 'nodePortAddresses: [] → [primary] (now)'],
    ['', 'healthzBindAddress: "::1"', 'healthzBindAddress: 0.0.0.0:10256 → [::1]:10256 (now)'],
    ['', 'hostnameOverride: Node-A', 'hostnameOverride: "" → node-a (at the next start)'],
    ['', 'featureGates: { A: true }', 'featureGates: {} → {"A":true} (not used by this version)'],
    ['', 'conntrack: { tcpEstablishedTimeout: 0s }', 'conntrack.tcpEstablishedTimeout: 24h0m0s → 0s (now)'],
    [
      '',
      `${NODE_HEADER}iptables: { variant: nft }`,
      'NodeConfiguration iptables.variant: auto → nft (at the next start)',
    ],
    [`${NODE_HEADER}watch: { endpoints: Endpoints }`, '', 'NodeConfiguration watch.endpoints: Endpoints → auto (now)'],
  ])('from %j to %j', (before, after, line) => {
    expect(differences(before, after)).toEqual([line]);
  });

  test('a default that another field decides is a difference of its own', () => {
    expect(differences('', 'bindAddress: "::"')).toEqual([
      'bindAddress: 0.0.0.0 → :: (at the next start)',
      'healthzBindAddress: 0.0.0.0:10256 → [::]:10256 (now)',
      'metricsBindAddress: 127.0.0.1:10249 → [::1]:10249 (now)',
    ]);
  });
});
