import { describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { kubeProxySchema, SECTIONS, TOP_LEVEL, USED_FIELDS } from '../../../src/config/kube-proxy-fields.ts';

describe('the field table', () => {
  test("has kube-proxy's fields and defaults", () => {
    expect(z.parse(kubeProxySchema, {})).toEqual({
      apiVersion: '',
      kind: '',
      featureGates: {},
      clientConnection: {
        kubeconfig: '',
        acceptContentTypes: '',
        contentType: 'application/vnd.kubernetes.protobuf',
        qps: 5,
        burst: 10,
      },
      logging: { format: 'text', verbosity: 0 },
      hostnameOverride: '',
      bindAddress: '0.0.0.0',
      bindAddressHardFail: false,
      enableProfiling: false,
      showHiddenMetricsForVersion: '',
      mode: '',
      iptables: { masqueradeBit: 14, masqueradeAll: false, localhostNodePorts: true, syncPeriod: 30_000 },
      ipvs: {
        syncPeriod: 30_000,
        minSyncPeriod: 0,
        scheduler: '',
        excludeCIDRs: [],
        strictARP: false,
        tcpTimeout: 0,
        tcpFinTimeout: 0,
        udpTimeout: 0,
      },
      nftables: { masqueradeBit: 14, masqueradeAll: false, syncPeriod: 30_000, minSyncPeriod: 1000 },
      winkernel: {
        networkName: '',
        sourceVip: '',
        enableDSR: false,
        rootHnsEndpointName: '',
        forwardHealthCheckVip: false,
      },
      detectLocalMode: '',
      detectLocal: { bridgeInterface: '', interfaceNamePrefix: '' },
      clusterCIDR: [],
      nodePortAddresses: [],
      oomScoreAdj: -999,
      conntrack: {
        maxPerCore: 32_768,
        min: 131_072,
        tcpEstablishedTimeout: 86_400_000,
        tcpCloseWaitTimeout: 3_600_000,
        tcpBeLiberal: false,
        udpTimeout: 0,
        udpStreamTimeout: 0,
      },
      configSyncPeriod: 900_000,
      portRange: '',
      windowsRunAsService: false,
    });
  });

  test('every section is part of the schema', () => {
    const names = [...Object.keys(TOP_LEVEL), ...Object.keys(SECTIONS)].toSorted();
    expect(Object.keys(kubeProxySchema.shape).toSorted()).toEqual(names);
  });

  test('names only fields that exist as used', () => {
    const paths = Object.entries(SECTIONS).flatMap(([name, fields]) =>
      Object.keys(fields).map(field => `${name}.${field}`),
    );
    const known = new Set([...paths, ...Object.keys(TOP_LEVEL)]);
    expect([...USED_FIELDS].filter(path => !known.has(path))).toEqual([]);
  });
});
