/**
 * The flags of kube-proxy 1.36 (cmd/kube-proxy/app/options.go), each with the field that it sets. The only list of them: the command
 * line, the help, the errors and docs/configuration.md follow it.
 */

/** How a flag's text is read; see `flag-values.ts`. */
export type FlagKind = 'text' | 'boolean' | 'number' | 'duration' | 'period' | 'list' | 'gates' | 'vmodule';

export interface Flag {
  /** Without the dashes. */
  readonly name: string;
  /** The field of KubeProxyConfiguration that it sets. */
  readonly field: string;
  /** The same field of the section nftables: kube-proxy knows one flag for both modes. */
  readonly nftablesField?: string;
  readonly kind: FlagKind;
  /** '' when its field does nothing in this version; docs/configuration.md has it. */
  readonly help: string;
  /** Holds even when --config is given; all others are ignored then, as in kube-proxy. */
  readonly isBesideFile?: true;
}

const flag = (name: string, kind: FlagKind, field: string, help = ''): Flag => ({ name, kind, field, help });
const forBoth = (name: string, kind: FlagKind, field: string, help: string): Flag => ({
  ...flag(name, kind, `iptables.${field}`, help),
  nftablesField: `nftables.${field}`,
});
const beside = (name: string, kind: FlagKind, field: string, help = ''): Flag => ({
  ...flag(name, kind, field, help),
  isBesideFile: true,
});

/** Flags that set a field, in the order of `kube-proxy --help`. */
export const FIELD_FLAGS: readonly Flag[] = [
  flag('bind-address', 'text', 'bindAddress', "the node's own address; an unspecified one only prefers its family"),
  flag('bind-address-hard-fail', 'boolean', 'bindAddressHardFail', 'end when a server cannot take its address'),
  flag(
    'cluster-cidr',
    'text',
    'clusterCIDR',
    "the pods' addresses: a CIDR, or one of each family with a comma between",
  ),
  flag('config-sync-period', 'period', 'configSyncPeriod'),
  flag('conntrack-max-per-core', 'number', 'conntrack.maxPerCore', 'nf_conntrack_max for each CPU; 0 = as it is'),
  flag('conntrack-min', 'number', 'conntrack.min', 'the least nf_conntrack_max'),
  flag('conntrack-tcp-be-liberal', 'boolean', 'conntrack.tcpBeLiberal', 'nf_conntrack_tcp_be_liberal'),
  flag(
    'conntrack-tcp-timeout-close-wait',
    'duration',
    'conntrack.tcpCloseWaitTimeout',
    'for TCP in CLOSE_WAIT; 0 = as it is',
  ),
  flag(
    'conntrack-tcp-timeout-established',
    'duration',
    'conntrack.tcpEstablishedTimeout',
    'for idle TCP connections; 0 = as it is',
  ),
  flag('conntrack-udp-timeout', 'duration', 'conntrack.udpTimeout', 'for UDP without a reply; 0 = as it is'),
  flag('conntrack-udp-timeout-stream', 'duration', 'conntrack.udpStreamTimeout', 'for UDP with replies; 0 = as it is'),
  flag('detect-local-mode', 'text', 'detectLocalMode', 'how packets from pods of this node are recognised'),
  flag('feature-gates', 'gates', 'featureGates'),
  flag('healthz-bind-address', 'text', 'healthzBindAddress', 'where /healthz, /livez and /readyz are served'),
  beside('hostname-override', 'text', 'hostnameOverride', 'the name of this Node object'),
  flag(
    'iptables-localhost-nodeports',
    'boolean',
    'iptables.localhostNodePorts',
    'serve NodePorts on 127.0.0.1 too (true)',
  ),
  flag('iptables-masquerade-bit', 'number', 'iptables.masqueradeBit', 'the bit of the packet mark, 0 to 31'),
  forBoth('iptables-min-sync-period', 'duration', 'minSyncPeriod', 'the least time between two syncs'),
  forBoth('iptables-sync-period', 'period', 'syncPeriod', 'how often a failed or foreign change is looked after'),
  flag('ipvs-exclude-cidrs', 'list', 'ipvs.excludeCIDRs'),
  flag('ipvs-min-sync-period', 'duration', 'ipvs.minSyncPeriod'),
  flag('ipvs-scheduler', 'text', 'ipvs.scheduler'),
  flag('ipvs-strict-arp', 'boolean', 'ipvs.strictARP'),
  flag('ipvs-sync-period', 'period', 'ipvs.syncPeriod'),
  flag('ipvs-tcp-timeout', 'duration', 'ipvs.tcpTimeout'),
  flag('ipvs-tcpfin-timeout', 'duration', 'ipvs.tcpFinTimeout'),
  flag('ipvs-udp-timeout', 'duration', 'ipvs.udpTimeout'),
  flag('kube-api-burst', 'number', 'clientConnection.burst'),
  flag('kube-api-content-type', 'text', 'clientConnection.contentType'),
  flag('kube-api-qps', 'number', 'clientConnection.qps'),
  flag('kubeconfig', 'text', 'clientConnection.kubeconfig', 'how to reach the API server'),
  beside('log-flush-frequency', 'duration', 'logging.flushFrequency'),
  beside('log-json-info-buffer-size', 'text', 'logging.options.json.infoBufferSize'),
  beside('log-json-split-stream', 'boolean', 'logging.options.json.splitStream'),
  beside('log-text-info-buffer-size', 'text', 'logging.options.text.infoBufferSize'),
  beside('log-text-split-stream', 'boolean', 'logging.options.text.splitStream'),
  beside('logging-format', 'text', 'logging.format'),
  forBoth('masquerade-all', 'boolean', 'masqueradeAll', 'masquerade every connection to a cluster IP'),
  flag('metrics-bind-address', 'text', 'metricsBindAddress', 'where /metrics, /proxyMode and /configz are served'),
  flag('nodeport-addresses', 'list', 'nodePortAddresses', 'CIDRs of the addresses with NodePorts, or primary'),
  flag('oom-score-adj', 'number', 'oomScoreAdj', 'for /proc/self/oom_score_adj, -1000 to 1000'),
  flag('pod-bridge-interface', 'text', 'detectLocal.bridgeInterface', 'for detect-local-mode BridgeInterface'),
  flag('pod-interface-name-prefix', 'text', 'detectLocal.interfaceNamePrefix', 'for InterfaceNamePrefix'),
  flag('profiling', 'boolean', 'enableProfiling'),
  flag('proxy-mode', 'text', 'mode', 'iptables'),
  flag('show-hidden-metrics-for-version', 'text', 'showHiddenMetricsForVersion'),
  beside('v', 'number', 'logging.verbosity', "klog's log level: from 4 on debug, from 6 on trace"),
  beside('vmodule', 'vmodule', 'logging.vmodule'),
];

/** Flags without a field. */
export const OTHER_FLAGS = [
  { name: 'master', help: "the API server's URL, instead of the kubeconfig's", isBesideFile: true },
  // kube-proxy has them still, and they do nothing there either, since the addresses' defaults have a port (options.go: Complete).
  { name: 'healthz-port', help: '', isBesideFile: false },
  { name: 'metrics-port', help: '', isBesideFile: false },
] as const;

/** The flags that were given, by name, as their texts; a list that was given twice is joined by a comma. */
export type GivenFlags = Readonly<Record<string, string>>;

/** The flag that sets a field, or a part of it (`nodePortAddresses[1]`, `featureGates.A`): `--nodeport-addresses`. Else the path. */
export function flagOfPath(path: string): string {
  const isOf = (field: string) => path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`);
  const found = FIELD_FLAGS.find(({ field, nftablesField }) => isOf(field) || path === nftablesField);
  return found === undefined ? path : `--${found.name}`;
}
