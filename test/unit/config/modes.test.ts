import { describe, expect, it } from 'vitest';
import { configurationOf, sectionOf } from '../../../src/config/configuration.ts';
import { effectiveDocuments } from '../../../src/config/effective.ts';
import type { KubeProxyFields } from '../../../src/config/kube-proxy-fields.ts';
import { defaultConfiguration, parseConfiguration } from '../../../src/config/load.ts';

const { fields } = defaultConfiguration();
const withFields = (kubeProxy: Partial<KubeProxyFields>) => ({
  ...fields,
  kubeProxy: { ...fields.kubeProxy, ...kubeProxy },
});

describe('mode', () => {
  it('nftables has NodePorts on the primary addresses unless told otherwise, the others on all', () => {
    const addressesOf = (kubeProxy: Partial<KubeProxyFields>) =>
      configurationOf(withFields(kubeProxy)).nodePortAddresses;
    expect(addressesOf({ mode: 'nftables' })).toBe('primary');
    expect(addressesOf({ mode: 'nftables', nodePortAddresses: ['10.0.0.0/8'] })).toEqual(['10.0.0.0/8']);
    expect(addressesOf({ mode: 'iptables' })).toEqual([]);
    expect(addressesOf({ mode: '' })).toEqual([]);
    expect(effectiveDocuments(withFields({ mode: 'nftables' })).kubeProxy).toMatchObject({
      nodePortAddresses: ['primary'],
    });
  });

  it('takes masqueradeAll and periods from its own section', () => {
    const text = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
iptables: { syncPeriod: 1m }
nftables: { masqueradeAll: true, syncPeriod: 45s, minSyncPeriod: 2s }
`;
    const { configuration, warnings } = parseConfiguration(text, 'a file');
    expect(warnings).toEqual([]);
    expect(sectionOf({ ...configuration, mode: 'nftables' })).toEqual({
      masqueradeAll: true,
      syncPeriodMs: 45_000,
      minSyncPeriodMs: 2000,
    });
    expect(sectionOf({ ...configuration, mode: 'iptables' })).toMatchObject({
      masqueradeAll: false,
      syncPeriodMs: 60_000,
      minSyncPeriodMs: 0,
    });
  });

  it('a flag that is for both sections is blamed once', () => {
    expect(() => defaultConfiguration({ 'iptables-sync-period': 'soon' })).toThrow(
      /^command line: --iptables-sync-period: must be a duration[^\n]*$/,
    );
  });
});
