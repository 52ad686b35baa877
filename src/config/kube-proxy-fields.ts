/**
 * Every field of KubeProxyConfiguration v1alpha1 with its default: a file written for kube-proxy (by kubeadm, say) is valid here.
 * Source: staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go and pkg/proxy/apis/config/v1alpha1/defaults.go of Kubernetes 1.36.
 */
import * as z from 'zod/mini';
import {
  address,
  amount,
  anything,
  bindAddress,
  choice,
  cidrPair,
  cidrs,
  cidrsOrPrimary,
  duration,
  durationIfSet,
  flag,
  flagsByName,
  integer,
  interfaceName,
  section,
  text,
} from './field-kinds.ts';
import { MODE_WORDS } from './proxy-modes.ts';

const MASQUERADE_BIT = { min: 0, max: 31 };

/** The fields of each section; nested plain objects are sections. */
export const SECTIONS = {
  clientConnection: {
    kubeconfig: text(),
    acceptContentTypes: text(),
    contentType: text('application/vnd.kubernetes.protobuf'),
    qps: amount(5),
    burst: integer(10, { min: 0 }, true),
  },
  logging: {
    format: choice(['text', 'json'], 'text'),
    flushFrequency: anything(),
    verbosity: integer(0, { min: 0 }),
    vmodule: anything(),
    options: anything(),
  },
  iptables: {
    masqueradeBit: integer(14, MASQUERADE_BIT),
    masqueradeAll: flag(false),
    localhostNodePorts: flag(true),
    syncPeriod: duration('30s'),
    // kube-proxy waits 1 s because its syncs are expensive; ours take milliseconds, so only a written value counts.
    minSyncPeriod: durationIfSet(),
  },
  ipvs: {
    syncPeriod: duration('30s'),
    minSyncPeriod: duration('0s'),
    scheduler: text(),
    excludeCIDRs: cidrs(),
    strictARP: flag(false),
    tcpTimeout: duration('0s'),
    tcpFinTimeout: duration('0s'),
    udpTimeout: duration('0s'),
  },
  nftables: {
    masqueradeBit: integer(14, MASQUERADE_BIT),
    masqueradeAll: flag(false),
    syncPeriod: duration('30s'),
    minSyncPeriod: durationIfSet(),
  },
  winkernel: {
    networkName: text(),
    sourceVip: text(),
    enableDSR: flag(false),
    rootHnsEndpointName: text(),
    forwardHealthCheckVip: flag(false),
  },
  detectLocal: { bridgeInterface: interfaceName(), interfaceNamePrefix: interfaceName() },
  conntrack: {
    maxPerCore: integer(32_768, { min: 0 }),
    min: integer(131_072, { min: 0 }),
    // Pointers in kube-proxy: a written 0 leaves the kernel's own timeout.
    tcpEstablishedTimeout: duration('24h', { isZeroUnset: false }),
    tcpCloseWaitTimeout: duration('1h', { isZeroUnset: false }),
    tcpBeLiberal: flag(false),
    udpTimeout: duration('0s'),
    udpStreamTimeout: duration('0s'),
  },
} as const;

/** The fields that aren't in a section. */
export const TOP_LEVEL = {
  apiVersion: text(),
  kind: text(),
  featureGates: flagsByName(),
  hostnameOverride: text(),
  bindAddress: address('0.0.0.0'),
  healthzBindAddress: bindAddress(),
  metricsBindAddress: bindAddress(),
  bindAddressHardFail: flag(false),
  enableProfiling: flag(false),
  showHiddenMetricsForVersion: text(),
  mode: choice(MODE_WORDS, ''),
  detectLocalMode: choice(['', 'ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'], ''),
  clusterCIDR: cidrPair(),
  nodePortAddresses: cidrsOrPrimary(),
  oomScoreAdj: integer(-999, { min: -1000, max: 1000 }),
  configSyncPeriod: duration('15m'),
  portRange: text(),
  windowsRunAsService: flag(false),
} as const;

export const kubeProxySchema = z.object({
  ...TOP_LEVEL,
  clientConnection: section(SECTIONS.clientConnection),
  logging: section(SECTIONS.logging),
  iptables: section(SECTIONS.iptables),
  ipvs: section(SECTIONS.ipvs),
  nftables: section(SECTIONS.nftables),
  winkernel: section(SECTIONS.winkernel),
  detectLocal: section(SECTIONS.detectLocal),
  conntrack: section(SECTIONS.conntrack),
});

/** A whole KubeProxyConfiguration with defaults filled in; durations in milliseconds, addresses and CIDRs canonical. */
export type KubeProxyFields = z.infer<typeof kubeProxySchema>;
