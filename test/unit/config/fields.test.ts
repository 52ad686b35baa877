import { describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { FIELD_EFFECTS, NODE_PATH_PREFIX } from '../../../src/config/field-effects.ts';
import { kubeProxySchema, SECTIONS, TOP_LEVEL } from '../../../src/config/kube-proxy-fields.ts';
import { NODE_SECTIONS, NODE_TOP_LEVEL } from '../../../src/config/node-fields.ts';

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
      nftables: { masqueradeBit: 14, masqueradeAll: false, syncPeriod: 30_000 },
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

  test('says of every field when a change takes effect, and of no other', () => {
    const paths = effectivePaths();
    expect(Object.keys(FIELD_EFFECTS).toSorted()).toEqual(paths.toSorted());
  });

  test('says why of every field that is not used', () => {
    const silent = Object.entries(FIELD_EFFECTS).filter(([, { takesEffect, why }]) => takesEffect !== 'now' && !why);
    expect(silent).toEqual([]);
  });
});

function effectivePaths(): string[] {
  const paths = (topLevel: object, sections: object, prefix: string) => [
    ...Object.keys(topLevel).filter(name => name !== 'apiVersion' && name !== 'kind'),
    ...Object.entries(sections).flatMap(([name, fields]) =>
      Object.keys(fields as object).map(field => `${prefix}${name}.${field}`),
    ),
  ];
  return [...paths(TOP_LEVEL, SECTIONS, ''), ...paths(NODE_TOP_LEVEL, NODE_SECTIONS, NODE_PATH_PREFIX)];
}
