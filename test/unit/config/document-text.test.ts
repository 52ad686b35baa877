import fc from 'fast-check';
import { expect, test } from 'vitest';
import { differencesOf } from '../../../src/config/differences.ts';
import { configurationText } from '../../../src/config/document-text.ts';
import { defaultConfiguration, parseConfiguration } from '../../../src/config/load.ts';

test('the defaults as a file are the defaults, without a warning but for the missing clusterCIDR', () => {
  const defaults = defaultConfiguration();
  const again = parseConfiguration(configurationText(defaults.fields), 'a');
  expect(again.configuration).toEqual(defaults.configuration);
  expect(differencesOf(defaults.fields, again.fields)).toEqual([]);
  expect(again.warnings).toEqual([
    'clusterCIDR is not set: traffic from pods is not told from traffic from outside the cluster',
  ]);
});

test('a name that an older YAML takes for something else is quoted', () => {
  const { fields } = defaultConfiguration({ 'hostname-override': 'no' });
  expect(configurationText(fields)).toContain('hostnameOverride: "no"\n');
});

const duration = fc.integer({ min: 1, max: 100_000_000 }).map(ms => `${ms}ms`);
const port = fc.integer({ min: 1, max: 65_535 });
const kubeProxy = fc.record(
  {
    featureGates: fc.dictionary(fc.stringMatching(/^[A-Z]\w{0,5}$/), fc.boolean()),
    clientConnection: fc.record({
      kubeconfig: fc.string(),
      qps: fc.float({ min: 1, max: 50, noNaN: true }),
      burst: port,
    }),
    logging: fc.record({
      verbosity: fc.nat(10),
      format: fc.constantFrom('text', 'json', ''),
      flushFrequency: duration,
    }),
    hostnameOverride: fc.string(),
    bindAddress: fc.oneof(fc.ipV4(), fc.ipV6()),
    healthzBindAddress: fc.oneof(
      fc.ipV4(),
      port.map(number => `[fd00::1]:${number}`),
    ),
    metricsBindAddress: fc.constantFrom('', '::1', '10.0.0.1:9'),
    bindAddressHardFail: fc.boolean(),
    mode: fc.constantFrom('', 'iptables'),
    iptables: fc.record({
      masqueradeBit: fc.nat(31),
      syncPeriod: fc.constantFrom('0s', '1h'),
      minSyncPeriod: fc.constantFrom('0s', '7ms'),
    }),
    ipvs: fc.record({
      syncPeriod: duration,
      minSyncPeriod: duration,
      tcpTimeout: duration,
      udpTimeout: fc.constant('0s'),
      tcpFinTimeout: duration,
    }),
    nftables: fc.record({ syncPeriod: duration, minSyncPeriod: duration }),
    detectLocalMode: fc.constantFrom('', 'ClusterCIDR', 'NodeCIDR'),
    clusterCIDR: fc.constantFrom('', '10.0.0.0/8', 'fd00::/8,10.0.0.0/8'),
    nodePortAddresses: fc.constantFrom([], ['primary'], ['10.0.0.0/8', 'fd00::/8']),
    oomScoreAdj: fc.integer({ min: -1000, max: 1000 }),
    conntrack: fc.record({
      maxPerCore: fc.nat(9),
      tcpEstablishedTimeout: fc.constantFrom('0s', '1s'),
      tcpCloseWaitTimeout: duration,
      udpStreamTimeout: duration,
      udpTimeout: duration,
    }),
    configSyncPeriod: duration,
  },
  { requiredKeys: [] },
);

test('any configuration as a file is the same configuration', () => {
  fc.assert(
    fc.property(kubeProxy, fc.constantFrom('auto', 'nft', 'legacy'), (fields, variant) => {
      const documents = [
        { ...fields, apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' },
        { apiVersion: 'kproxy-ts.dev/v1alpha1', kind: 'NodeConfiguration', iptables: { variant } },
      ];
      const loaded = parseConfiguration(documents.map(document => JSON.stringify(document)).join('\n---\n'), 'a');
      const again = parseConfiguration(configurationText(loaded.fields), 'b');
      expect(again.configuration).toEqual(loaded.configuration);
      expect(differencesOf(loaded.fields, again.fields)).toEqual([]);
    }),
  );
});
