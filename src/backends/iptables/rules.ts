import { endpointText } from '../../endpoints/types.ts';
import { formatIPv4 } from '../../net/ip.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { LocalDetector, NodeOptions } from '../node-options.ts';
import { CHAIN } from './names.ts';
import type { IptablesObject } from './objects.ts';

/** What the rules of every Service depend on. */
export interface IptablesOptions extends NodeOptions {
  /** Bit of the packet mark that asks for masquerading, 0 to 31. */
  readonly masqueradeBit: number;
  /** The bit before, while packets that carry it may be under way. */
  readonly formerMasqueradeBit?: number;
  /** NodePorts on 127.0.0.0/8 too, where `nodePortAddresses` has it. IPv4 only; ::1 never has any. */
  readonly hasLocalhostNodePorts: boolean;
}

/** One rule, its parts in the order in which iptables-save prints them. A leading `! ` negates source, destination or interface. */
export interface RuleParts {
  readonly source?: string;
  readonly destination?: string;
  readonly inInterface?: string;
  /** Lower case. */
  readonly protocol?: string;
  readonly comment?: string;
  /** Matches after the comment, whole: `-m addrtype --dst-type LOCAL`. */
  readonly matches?: readonly string[];
  /** The target with its options: `DNAT --to-destination 10.0.0.1:80`. */
  readonly jump: string;
}

/** XT_MAX_COMMENT_LEN is 256 with the closing NUL (include/uapi/linux/netfilter/xt_comment.h). */
const COMMENT_LIMIT = 255;

export function rule(parts: RuleParts): string {
  const { comment: text, matches } = parts;
  const where = option('-s', parts.source) + option('-d', parts.destination) + option('-i', parts.inInterface);
  const what = option('-p', parts.protocol) + (text === undefined ? '' : `${comment(text)} `);
  return `${where}${what}${matches === undefined || matches.length === 0 ? '' : `${matches.join(' ')} `}-j ${parts.jump}`;
}

function option(flag: string, value: string | undefined): string {
  if (value === undefined) return '';
  return value.startsWith('! ') ? `! ${flag} ${value.slice(2)} ` : `${flag} ${value} `;
}

/** The comment match, cut to what the kernel keeps. */
export function comment(text: string): string {
  return `-m comment --comment ${quote(text.slice(0, COMMENT_LIMIT))}`;
}

/** As xtables_save_string does: bare when nothing needs quoting, else in double quotes with backslashes. */
export function quote(text: string): string {
  if (/^[A-Za-z0-9_-]+$/.test(text)) return text;
  return /["\\']/.test(text) ? `"${text.replaceAll(/(["\\'])/g, '\\$1')}"` : `"${text}"`;
}

/** A single address as iptables-save prints it. */
export function host(ip: string): string {
  return ip.includes(':') ? `${printedIPv6(ip)}/128` : `${ip}/32`;
}

/** Address and port of a target as iptables-save prints them. */
export function target(endpoint: { readonly ip: string; readonly port: number }): string {
  return endpointText(endpoint.ip.includes(':') ? { ...endpoint, ip: printedIPv6(endpoint.ip) } : endpoint);
}

/** glibc's inet_ntop writes an IPv4-compatible address (RFC 4291 2.5.5.1) with dots, where RFC 5952 allows hexadecimal. */
function printedIPv6(ip: string): string {
  const [, high, low] = /^::([0-9a-f]+):([0-9a-f]+)$/.exec(ip) ?? [];
  if (high === undefined || low === undefined) return ip;
  return `::${formatIPv4(Number.parseInt(high, 16) * 65536 + Number.parseInt(low, 16))}`;
}

/** Matches a destination port of `protocol`. */
export function destinationPort(protocol: string, port: number): string {
  return `-m ${protocol} --dport ${port}`;
}

/** xt_statistic keeps a probability in units of 2^-31 and prints it with eleven digits. */
export function probability(value: number): string {
  return `-m statistic --mode random --probability ${(Math.round(value * 0x80000000) / 0x80000000).toFixed(11)}`;
}

export const FROM_NODE = '-m addrtype --src-type LOCAL';
export const TO_NODE = '-m addrtype --dst-type LOCAL';
export const NEW = '-m conntrack --ctstate NEW';

/**
 * Port unreachable, as for a port where nobody listens: a client fails at once with ECONNREFUSED. Over TCP in IPv6 it takes a reset: an
 * ICMPv6 error that arrives while connect() holds the socket, as it does from the other end of a veth, is dropped (tcp_v6_err), and the
 * client waits until its SYN is sent again after 1 s (Linux 6.18, measured; IPv4 fails at once).
 */
export function refuse(family: IPFamily, protocol: string): string {
  if (family === 'IPv4') return 'REJECT --reject-with icmp-port-unreachable';
  return `REJECT --reject-with ${protocol === 'tcp' ? 'tcp-reset' : 'icmp6-port-unreachable'}`;
}

/** Every packet's source by itself: xt_recent could count networks as one client. */
const RECENT_KEY = {
  IPv4: '--mask 255.255.255.255 --rsource',
  IPv6: '--mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource',
} as const;

/** Notes the client in the list `name`, or notes anew when. */
export function remember(name: string, family: IPFamily): string {
  return `-m recent --set --name ${name} ${RECENT_KEY[family]}`;
}

/** Matches a client that the list `name` saw within `seconds`; older entries are taken out of the list. */
export function isRemembered(name: string, seconds: number, family: IPFamily): string {
  return `-m recent --rcheck --seconds ${seconds} --reap --name ${name} ${RECENT_KEY[family]}`;
}

export function ifLocal(detector: LocalDetector): Pick<RuleParts, 'source' | 'inInterface'> {
  if (detector.kind === 'source') return { source: detector.cidr };
  return detector.kind === 'interface' ? { inInterface: detector.pattern } : {};
}

export function ifNotLocal(detector: LocalDetector): Pick<RuleParts, 'source' | 'inInterface'> {
  if (detector.kind === 'source') return { source: `! ${detector.cidr}` };
  return detector.kind === 'interface' ? { inInterface: `! ${detector.pattern}` } : {};
}

/** Destinations with NodePorts, as rules match them; undefined = any. Beside them, they must be addresses of this node. */
export function nodePortDestinations(options: IptablesOptions): readonly (string | undefined)[] {
  const { family, nodePortAddresses, hasLocalhostNodePorts } = options;
  if (nodePortAddresses !== 'all') return nodePortAddresses;
  if (family === 'IPv6') return ['! ::1/128'];
  return hasLocalhostNodePorts ? [undefined] : ['! 127.0.0.0/8'];
}

const PORTALS = 'kubernetes service portals';
const EXTERNAL_PORTALS = 'kubernetes externally-visible service portals';
const FIREWALL = 'kubernetes load balancer firewall';

/** What the built-in chains hand to ours, and why there. */
const JUMPS = [
  // Before routing, so that the endpoint's address decides the route; for what the node itself sends as well.
  { table: 'nat', chain: 'PREROUTING', rule: rule({ comment: PORTALS, jump: CHAIN.services }) },
  { table: 'nat', chain: 'OUTPUT', rule: rule({ comment: PORTALS, jump: CHAIN.services }) },
  // After routing: the source is rewritten to the address of the interface that the packet leaves by.
  {
    table: 'nat',
    chain: 'POSTROUTING',
    rule: rule({ comment: 'kubernetes postrouting rules', jump: CHAIN.postrouting }),
  },
  // Refusals, after nat left the packet alone: only new flows are looked at.
  { table: 'filter', chain: 'FORWARD', rule: rule({ matches: [NEW, comment(PORTALS)], jump: CHAIN.services }) },
  { table: 'filter', chain: 'OUTPUT', rule: rule({ matches: [NEW, comment(PORTALS)], jump: CHAIN.services }) },
  {
    table: 'filter',
    chain: 'INPUT',
    rule: rule({ matches: [NEW, comment(EXTERNAL_PORTALS)], jump: CHAIN.externalServices }),
  },
  {
    table: 'filter',
    chain: 'FORWARD',
    rule: rule({ matches: [NEW, comment(EXTERNAL_PORTALS)], jump: CHAIN.externalServices }),
  },
  // What source ranges shut out has kept its destination; what they let in has it no more.
  { table: 'filter', chain: 'INPUT', rule: rule({ matches: [NEW, comment(FIREWALL)], jump: CHAIN.proxyFirewall }) },
  { table: 'filter', chain: 'OUTPUT', rule: rule({ matches: [NEW, comment(FIREWALL)], jump: CHAIN.proxyFirewall }) },
  { table: 'filter', chain: 'FORWARD', rule: rule({ matches: [NEW, comment(FIREWALL)], jump: CHAIN.proxyFirewall }) },
  // Load balancers reach the health check ports whatever the node's INPUT policy is.
  {
    table: 'filter',
    chain: 'INPUT',
    rule: rule({ comment: 'kubernetes health check service ports', jump: CHAIN.nodePorts }),
  },
  // Masqueraded and established traffic passes even where the FORWARD policy is DROP; between pods the pod network must let it pass.
  { table: 'filter', chain: 'FORWARD', rule: rule({ comment: 'kubernetes forwarding rules', jump: CHAIN.forward }) },
] as const;

const DISPATCH = [
  { table: 'nat', name: CHAIN.services },
  { table: 'nat', name: CHAIN.nodePorts },
  { table: 'filter', name: CHAIN.services },
  { table: 'filter', name: CHAIN.externalServices },
  { table: 'filter', name: CHAIN.proxyFirewall },
  { table: 'filter', name: CHAIN.nodePorts },
] as const;

export function jumpRules(): IptablesObject[] {
  return JUMPS.map(jump => ({ kind: 'rule', ...jump }));
}

/** IPv4 only. */
export function localnetJump(): IptablesObject {
  return {
    kind: 'rule',
    table: 'filter',
    chain: 'INPUT',
    rule: rule({ comment: LOCALNET_GUARD, jump: CHAIN.localnet }),
  };
}

export const LOCALNET_GUARD = 'block incoming localnet connections';

export function dispatchChains(): IptablesObject[] {
  return DISPATCH.map(chain => ({ kind: 'dispatch', ...chain }));
}

/** Whether a chain holds entries of many Services (and is ours). */
export function isDispatchChain(table: string, name: string): boolean {
  return DISPATCH.some(chain => chain.table === table && chain.name === name);
}
