/** The configuration as a document again, with every default filled in: for people, `/configz`, and `--write-config-to`. */
import { ipFamily } from '../net/ip.ts';
import { type ConfigurationFields, configurationOf, type ListenAddress, type ModeSection } from './configuration.ts';
import type { Mapping } from './document-check.ts';
import { durationText } from './duration.ts';

export const KUBE_PROXY = { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' } as const;
export const NODE = { apiVersion: 'kproxy-ts.dev/v1alpha1', kind: 'NodeConfiguration' } as const;

/** Both documents, as they could stand in a file. */
export interface EffectiveDocuments {
  readonly kubeProxy: Mapping;
  readonly node: Mapping;
}

/** Both documents with defaults filled in, durations as Go writes them and addresses with their ports. */
export function effectiveDocuments(fields: ConfigurationFields): EffectiveDocuments {
  const { kubeProxy, node } = fields;
  const {
    healthz,
    metrics,
    iptables,
    nftables,
    mode,
    detectLocal,
    nodePortAddresses,
    nodeName = '',
  } = configurationOf(fields);
  const document = {
    ...kubeProxy,
    ...KUBE_PROXY,
    hostnameOverride: nodeName,
    healthzBindAddress: listenText(healthz),
    metricsBindAddress: listenText(metrics),
    mode,
    detectLocalMode: detectLocal.mode,
    clusterCIDR: kubeProxy.clusterCIDR.join(','),
    configSyncPeriod: durationText(kubeProxy.configSyncPeriod),
    nodePortAddresses: nodePortAddresses === 'primary' ? ['primary'] : nodePortAddresses,
    iptables: { ...kubeProxy.iptables, ...periods(iptables) },
    ipvs: withDurations(kubeProxy.ipvs, ['syncPeriod', 'minSyncPeriod', 'tcpTimeout', 'tcpFinTimeout', 'udpTimeout']),
    nftables: { ...kubeProxy.nftables, ...periods(nftables) },
    conntrack: withDurations(kubeProxy.conntrack, [
      'tcpEstablishedTimeout',
      'tcpCloseWaitTimeout',
      'udpTimeout',
      'udpStreamTimeout',
    ]),
  };
  return { kubeProxy: document, node: { ...node, ...NODE } };
}

function periods({ syncPeriodMs, minSyncPeriodMs }: ModeSection) {
  return { syncPeriod: durationText(syncPeriodMs), minSyncPeriod: durationText(minSyncPeriodMs) };
}

function withDurations<Key extends string>(section: Record<Key, number> & Mapping, keys: readonly Key[]): Mapping {
  return { ...section, ...Object.fromEntries(keys.map(key => [key, durationText(section[key])])) };
}

function listenText({ address, port }: ListenAddress): string {
  return ipFamily(address) === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
}
