/** What each field does in this version, and when a change of it in the file takes effect. The only place that says so. */

import { CNI_FIELDS } from './cni-fields.ts';
import { DNS_FIELDS } from './dns-fields.ts';

/** What stands before a path of NodeConfiguration, because both documents have a section `iptables`. */
export const NODE_PATH_PREFIX = 'NodeConfiguration ';

/** When a changed value takes effect: in the running daemon, at its next start, or not at all in this version. */
export type TakesEffect = 'now' | 'at the next start' | 'never';

export interface FieldEffect {
  readonly takesEffect: TakesEffect;
  /** Why it has no effect or only at the next start, in words that fit behind a colon. */
  readonly why?: string;
  /** Values that say what is so anyway, so that they need no warning. */
  readonly isSilent?: (value: unknown) => boolean;
}

const now: FieldEffect = { takesEffect: 'now' };
const atStart = (why: string): FieldEffect => ({ takesEffect: 'at the next start', why });
const never = (why: string): FieldEffect => ({ takesEffect: 'never', why });
/** Without a warning: kubeadm always writes these, and they only tune klog. */
const neverSilently = (why: string): FieldEffect => ({ takesEffect: 'never', why, isSilent: () => true });

const KLOG = 'it only tunes klog';
const JSON_API = 'the API is spoken in JSON';
const NO_LIMIT = 'a list and a watch of each resource need no limit of requests';
const IPVS = 'it comes with the IPVS mode';
const NO_MARK = 'that mode marks no packets';
const WINDOWS = 'it is for Windows';

/** Every field of both documents but apiVersion and kind. */
export const FIELD_EFFECTS: Readonly<Record<string, FieldEffect>> = {
  featureGates: never('there are no feature gates'),
  'clientConnection.kubeconfig': now,
  'clientConnection.acceptContentTypes': never(JSON_API),
  'clientConnection.contentType': never(JSON_API),
  'clientConnection.qps': never(NO_LIMIT),
  'clientConnection.burst': never(NO_LIMIT),
  'logging.format': {
    takesEffect: 'never',
    why: 'log lines are JSON objects',
    isSilent: value => value === 'json',
  },
  'logging.flushFrequency': neverSilently(KLOG),
  'logging.verbosity': now,
  'logging.vmodule': never(KLOG),
  'logging.options': neverSilently(KLOG),
  hostnameOverride: atStart('which Node this is decides what is watched and what is local'),
  bindAddress: atStart("the node's own address and the preferred family are settled at the start"),
  healthzBindAddress: now,
  metricsBindAddress: now,
  bindAddressHardFail: now,
  enableProfiling: never('there are no Go profiles'),
  showHiddenMetricsForVersion: never('no metric is hidden'),
  mode: atStart('there is one backend a process'),
  'iptables.masqueradeBit': now,
  'iptables.masqueradeAll': now,
  'iptables.localhostNodePorts': now,
  'iptables.syncPeriod': now,
  'iptables.minSyncPeriod': now,
  'ipvs.syncPeriod': never(IPVS),
  'ipvs.minSyncPeriod': never(IPVS),
  'ipvs.scheduler': never(IPVS),
  'ipvs.excludeCIDRs': never(IPVS),
  'ipvs.strictARP': never(IPVS),
  'ipvs.tcpTimeout': never(IPVS),
  'ipvs.tcpFinTimeout': never(IPVS),
  'ipvs.udpTimeout': never(IPVS),
  'nftables.masqueradeBit': never(NO_MARK),
  'nftables.masqueradeAll': now,
  'nftables.syncPeriod': now,
  'nftables.minSyncPeriod': now,
  'winkernel.networkName': never(WINDOWS),
  'winkernel.sourceVip': never(WINDOWS),
  'winkernel.enableDSR': never(WINDOWS),
  'winkernel.rootHnsEndpointName': never(WINDOWS),
  'winkernel.forwardHealthCheckVip': never(WINDOWS),
  detectLocalMode: now,
  'detectLocal.bridgeInterface': now,
  'detectLocal.interfaceNamePrefix': now,
  clusterCIDR: now,
  nodePortAddresses: now,
  oomScoreAdj: now,
  'conntrack.maxPerCore': now,
  'conntrack.min': now,
  'conntrack.tcpEstablishedTimeout': now,
  'conntrack.tcpCloseWaitTimeout': now,
  'conntrack.tcpBeLiberal': now,
  'conntrack.udpTimeout': now,
  'conntrack.udpStreamTimeout': now,
  configSyncPeriod: never('a watch has no need of it'),
  portRange: never("kube-proxy doesn't use it either"),
  windowsRunAsService: never(WINDOWS),
  ...Object.fromEntries(Object.keys(CNI_FIELDS).map(name => [`${NODE_PATH_PREFIX}cni.${name}`, now])),
  ...Object.fromEntries(Object.keys(DNS_FIELDS).map(name => [`${NODE_PATH_PREFIX}dns.${name}`, now])),
  [`${NODE_PATH_PREFIX}iptables.variant`]: atStart('ours in the other variant are removed at a start'),
  [`${NODE_PATH_PREFIX}metrics.perService`]: now,
  [`${NODE_PATH_PREFIX}services.allowedExternalIPs`]: now,
  [`${NODE_PATH_PREFIX}watch.endpoints`]: now,
};

/** When a change of this field takes effect. */
export function takesEffect(path: string): TakesEffect {
  return FIELD_EFFECTS[path]?.takesEffect ?? 'never';
}
