/** The kernel's settings that kube-proxy makes (pkg/proxy/conntrack/sysctls.go of Kubernetes 1.36), as values; linux/sysctl.ts writes them. */
import { cidrsOverlap, parseCIDR } from '../net/cidr.ts';

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

export interface LocalnetOptions {
  readonly mode: string;
  readonly localhostNodePorts: boolean;
  readonly nodePortAddresses: 'primary' | readonly string[];
}

/** NodePorts on 127.0.0.1 need packets from there to be routed to pods; nothing else does. */
export function localnetSysctl(options: LocalnetOptions): KernelSetting[] {
  const { mode, localhostNodePorts, nodePortAddresses } = options;
  if (mode !== 'iptables' || !localhostNodePorts || !takesLoopback(nodePortAddresses)) return [];
  const file = '/proc/sys/net/ipv4/conf/all/route_localnet';
  return [{ name: 'net.ipv4.conf.all.route_localnet', file, value: 1 }];
}

/** As for any address of a family, a list without an entry of it means all. */
function takesLoopback(nodePortAddresses: 'primary' | readonly string[]): boolean {
  if (nodePortAddresses === 'primary') return false;
  const ranges = nodePortAddresses.flatMap(text => parseCIDR(text) ?? []).filter(({ family }) => family === 'IPv4');
  const loopback = parseCIDR('127.0.0.0/8');
  return ranges.length === 0 || (loopback !== undefined && ranges.some(range => cidrsOverlap(range, loopback)));
}
