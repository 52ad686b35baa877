import type { ConntrackSettings } from '../conntrack/settings.ts';
import { ipFamily } from '../net/ip.ts';
import type { CniConfiguration } from './cni-fields.ts';
import { type DnsConfiguration, dnsConfiguration } from './dns-fields.ts';
import type { BindAddress } from './field-kinds.ts';
import type { KubeProxyFields } from './kube-proxy-fields.ts';
import type { NodeFields } from './node-fields.ts';
import type { ProxyMode } from './proxy-modes.ts';

/** Both documents with defaults filled in. */
export interface ConfigurationFields {
  readonly kubeProxy: KubeProxyFields;
  readonly node: NodeFields;
}

/** Where a server listens; the address is canonical. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** How a packet from a pod of this node is recognised (kube-proxy's detectLocalMode with what it needs). */
export type LocalDetection =
  | {
      readonly mode: 'ClusterCIDR' /** One a family at most; empty = pods aren't recognised. */;
      readonly cidrs: readonly string[];
    }
  | { readonly mode: 'NodeCIDR' }
  | { readonly mode: 'BridgeInterface'; readonly interfaceName: string }
  | { readonly mode: 'InterfaceNamePrefix'; readonly interfaceNamePrefix: string };

/** What each mode has a section of its own for. */
export interface ModeSection {
  readonly masqueradeAll: boolean;
  readonly syncPeriodMs: number;
  /** 0 unless the file says otherwise: kube-proxy's default of 1 s is there because its syncs are expensive. */
  readonly minSyncPeriodMs: number;
}

/** What the program acts on, from the file and the defaults; nothing here needs to be checked again. */
export interface Configuration {
  /** The Node this process runs on; absent when the file doesn't override it (see `resolveNodeName`). */
  readonly nodeName?: string;
  /** Absent = the credentials that a pod finds in its own file system. */
  readonly kubeconfigPath?: string;
  /** The API server's URL instead of the kubeconfig's (`--master`). */
  readonly apiServer?: string;
  /** Which API endpoints come from; auto = EndpointSlices, or Endpoints when the server has no discovery.k8s.io/v1. */
  readonly endpointsFrom: 'auto' | 'EndpointSlice' | 'Endpoints';
  /** '' = nobody said; see SERVED_MODES. */
  readonly mode: ProxyMode | '';
  /** Canonical; a specific address is taken as the node's own, an unspecified one says only the preferred family. */
  readonly bindAddress: string;
  readonly healthz: ListenAddress;
  readonly metrics: ListenAddress;
  readonly bindAddressHardFail: boolean;
  readonly iptables: ModeSection & {
    /** Which of the kernel's two rule sets the tools talk to; auto = the one that the node already uses. */
    readonly variant: 'auto' | 'nft' | 'legacy';
    readonly masqueradeBit: number;
    /** NodePorts on 127.0.0.0/8 too. */
    readonly localhostNodePorts: boolean;
  };
  readonly nftables: ModeSection;
  readonly detectLocal: LocalDetection;
  readonly conntrack: ConntrackSettings;
  /** Canonical CIDRs of the local addresses that accept NodePorts (empty = all), or the node's primary addresses. */
  readonly nodePortAddresses: 'primary' | readonly string[];
  /** Canonical CIDRs that spec.externalIPs may be of. */
  readonly allowedExternalIPs: readonly string[];
  /** Counters for each Service port among the metrics. */
  readonly hasServiceMetrics: boolean;
  readonly dns: DnsConfiguration;
  readonly cni: CniConfiguration;
  /** For /proc/self/oom_score_adj, -1000 to 1000. */
  readonly oomScoreAdj: number;
  /** klog's `--v`; see `levelOfVerbosity`. */
  readonly verbosity: number;
}

/** A configuration whose mode is known: the one that the process runs in. */
export type SettledConfiguration = Configuration & { readonly mode: ProxyMode };

/** The section of the mode in use. */
export function sectionOf(configuration: SettledConfiguration): ModeSection {
  return configuration[configuration.mode];
}

const HEALTHZ_PORT = 10_256;
const METRICS_PORT = 10_249;

/** Turns the checked fields into what the program acts on. */
export function configurationOf({ kubeProxy: fields, node }: ConfigurationFields): Configuration {
  const isIPv6 = ipFamily(fields.bindAddress) === 'IPv6';
  const nodeName = fields.hostnameOverride.trim().toLowerCase();
  const kubeconfigPath = fields.clientConnection.kubeconfig;
  return {
    ...(nodeName === '' ? {} : { nodeName }),
    ...(kubeconfigPath === '' ? {} : { kubeconfigPath }),
    endpointsFrom: node.watch.endpoints,
    mode: modeOf(fields.mode),
    bindAddress: fields.bindAddress,
    healthz: listenAddress(fields.healthzBindAddress, isIPv6 ? '::' : '0.0.0.0', HEALTHZ_PORT),
    metrics: listenAddress(fields.metricsBindAddress, isIPv6 ? '::1' : '127.0.0.1', METRICS_PORT),
    bindAddressHardFail: fields.bindAddressHardFail,
    iptables: {
      variant: node.iptables.variant,
      masqueradeBit: fields.iptables.masqueradeBit,
      localhostNodePorts: fields.iptables.localhostNodePorts,
      ...modeSection(fields.iptables),
    },
    nftables: modeSection(fields.nftables),
    detectLocal: localDetection(fields),
    conntrack: conntrackSettings(fields.conntrack),
    nodePortAddresses: nodePortAddresses(fields),
    allowedExternalIPs: node.services.allowedExternalIPs,
    hasServiceMetrics: node.metrics.perService,
    dns: dnsConfiguration(node.dns),
    cni: node.cni,
    oomScoreAdj: fields.oomScoreAdj,
    verbosity: fields.logging.verbosity,
  };
}

function modeOf(mode: KubeProxyFields['mode']): Configuration['mode'] {
  return mode === 'nftables' || mode === 'iptables' ? mode : '';
}

function modeSection(fields: KubeProxyFields['iptables' | 'nftables']): ModeSection {
  const { masqueradeAll, syncPeriod: syncPeriodMs, minSyncPeriod: minSyncPeriodMs = 0 } = fields;
  return { masqueradeAll, syncPeriodMs, minSyncPeriodMs };
}

/** In kube-proxy's nftables mode an empty list means the primary addresses. Who asks for no mode expects what iptables did. */
function nodePortAddresses({ mode, nodePortAddresses: all }: KubeProxyFields): Configuration['nodePortAddresses'] {
  return all[0] === 'primary' || (mode === 'nftables' && all.length === 0) ? 'primary' : all;
}

function listenAddress(bind: BindAddress | '' | undefined, address: string, port: number): ListenAddress {
  if (bind === undefined || bind === '') return { address, port };
  return { address: bind.address, port: bind.port ?? port };
}

function conntrackSettings(fields: KubeProxyFields['conntrack']): ConntrackSettings {
  return {
    maxPerCore: fields.maxPerCore,
    min: fields.min,
    tcpEstablishedTimeoutMs: fields.tcpEstablishedTimeout,
    tcpCloseWaitTimeoutMs: fields.tcpCloseWaitTimeout,
    tcpBeLiberal: fields.tcpBeLiberal,
    udpTimeoutMs: fields.udpTimeout,
    udpStreamTimeoutMs: fields.udpStreamTimeout,
  };
}

function localDetection(fields: KubeProxyFields): LocalDetection {
  switch (fields.detectLocalMode) {
    case '':
    case 'ClusterCIDR':
      return { mode: 'ClusterCIDR', cidrs: fields.clusterCIDR };
    case 'NodeCIDR':
      return { mode: 'NodeCIDR' };
    case 'BridgeInterface':
      return { mode: 'BridgeInterface', interfaceName: fields.detectLocal.bridgeInterface };
    case 'InterfaceNamePrefix':
      return { mode: 'InterfaceNamePrefix', interfaceNamePrefix: fields.detectLocal.interfaceNamePrefix };
  }
}
