/** The kernel's settings that kube-proxy makes (pkg/proxy/conntrack/sysctls.go of Kubernetes 1.36), as values; linux/sysctl.ts writes them. */
/** The section `conntrack` of the configuration. In all of it, 0 and false leave what the kernel has. */
export interface ConntrackSettings {
  readonly maxPerCore: number;
  readonly min: number;
  readonly tcpEstablishedTimeoutMs: number;
  readonly tcpCloseWaitTimeoutMs: number;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeoutMs: number;
  readonly udpStreamTimeoutMs: number;
}

/** A file of the kernel that holds a number. */
export interface KernelSetting {
  /** As people name it. */
  readonly name: string;
  readonly file: string;
  readonly value: number;
  /** Any larger value is as good. */
  readonly isLeast?: true;
}

/** More entries than this aren't asked for, however many cores there are. */
const MOST_FOR_CORES = 1_048_576;

/** What nf_conntrack_max shall be; 0 = as it is. */
export function conntrackMax(
  { maxPerCore, min }: Partial<Pick<ConntrackSettings, 'maxPerCore' | 'min'>>,
  cores: number,
): number {
  if (maxPerCore === undefined || maxPerCore === 0) return 0;
  return Math.max(Math.min(maxPerCore * cores, MOST_FOR_CORES), min ?? 0);
}

/** The settings of conntrack that are asked for. */
export function conntrackSysctls(settings: Partial<ConntrackSettings>, cores: number): KernelSetting[] {
  const wanted: readonly (readonly [string, number])[] = [
    ['nf_conntrack_max', conntrackMax(settings, cores)],
    ['nf_conntrack_tcp_timeout_established', seconds(settings.tcpEstablishedTimeoutMs)],
    ['nf_conntrack_tcp_timeout_close_wait', seconds(settings.tcpCloseWaitTimeoutMs)],
    ['nf_conntrack_tcp_be_liberal', settings.tcpBeLiberal === true ? 1 : 0],
    ['nf_conntrack_udp_timeout', seconds(settings.udpTimeoutMs)],
    ['nf_conntrack_udp_timeout_stream', seconds(settings.udpStreamTimeoutMs)],
  ];
  return wanted
    .filter(([, value]) => value > 0)
    .map(([name, value]) => ({ name, file: `/proc/sys/net/netfilter/${name}`, value }));
}

/** The table's buckets: a quarter of its entries, or chains get long. No sysctl: only the module's parameter can be written. */
export function conntrackHashsize(settings: Partial<ConntrackSettings>, cores: number): KernelSetting[] {
  const value = Math.floor(conntrackMax(settings, cores) / 4);
  const file = '/sys/module/nf_conntrack/parameters/hashsize';
  return value === 0 ? [] : [{ name: 'nf_conntrack hashsize', file, value, isLeast: true }];
}

function seconds(ms: number | undefined): number {
  return Math.floor((ms ?? 0) / 1000);
}

/**
 * NodePorts on 127.0.0.1 (`hasLocalhostNodePorts` of IptablesOptions) need packets from there to be routed to pods. Rules keep the
 * network away from what listens there.
 */
export function localnetSysctl(hasLocalhostNodePorts: boolean): KernelSetting[] {
  const file = '/proc/sys/net/ipv4/conf/all/route_localnet';
  return hasLocalhostNodePorts ? [{ name: 'net.ipv4.conf.all.route_localnet', file, value: 1 }] : [];
}
