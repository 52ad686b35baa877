/**
 * The rules of pods for iptables: four chains however many pods there are, with a rule for each hostPort and each pod that is masqueraded. Pure. Sets (ipset) would take another
 * module and another program of a kernel that lacks nf_tables already.
 */
import type { IPFamily } from '../../net/ip.ts';
import { ipFamily, isUnspecified } from '../../net/ip.ts';
import { hostPortFamilies } from './elements.ts';
import type { PodRules } from './pod-rules.ts';

/** Of both families; the last one is in `filter`, of IPv4 only. */
export const IPTABLES_CHAINS = {
  hostPorts: 'KPROXY-CNI-HOSTPORT',
  sources: 'KPROXY-CNI-MASQ',
  localnet: 'KPROXY-CNI-LOCALNET',
} as const;

export type IptablesTable = 'nat' | 'filter';

export interface IptablesRules {
  readonly pods: readonly PodRules[];
  /** CIDRs of the family: of the pods here, and where they are known by their own addresses. */
  readonly networks: readonly string[];
  readonly unmasqueraded: readonly string[];
}

const MASQUERADE = '-j MASQUERADE --random-fully';
const MULTICAST: Readonly<Record<IPFamily, string>> = { IPv4: '224.0.0.0/4', IPv6: 'ff00::/8' };
const SENT_ON = '-m conntrack --ctstate DNAT';

/** A chain of ours: where packets come to it from, and its rules. */
export interface IptablesChain {
  readonly table: IptablesTable;
  readonly name: string;
  /** Rules that lead to it. */
  readonly jumps: readonly string[];
  readonly rules: readonly string[];
}

export function chainsOf(family: IPFamily, rules: IptablesRules): readonly IptablesChain[] {
  const { hostPorts, sources } = IPTABLES_CHAINS;
  const toNode = (from: string) => `-A ${from} -m addrtype --dst-type LOCAL -j ${hostPorts}`;
  return [
    {
      table: 'nat',
      name: hostPorts,
      // Appended: of a NodePort and a hostPort that are the same, the Service's rule, which is before them, wins.
      jumps: ['PREROUTING', 'OUTPUT'].map(toNode),
      rules: hostPortRules(family, rules),
    },
    { table: 'nat', name: sources, jumps: [`-A POSTROUTING -j ${sources}`], rules: sourceRules(family, rules) },
    ...(family === 'IPv4' ? [localnetChain()] : []),
  ];
}

interface Port {
  readonly pod: string;
  /** '' = all of the node's. */
  readonly hostIP: string;
  readonly hostPort: number;
  readonly protocol: string;
  readonly containerPort: number;
}

function portsOf(family: IPFamily, { pods }: IptablesRules): readonly Port[] {
  const all = pods.flatMap(({ addresses, hostPorts }) =>
    hostPorts
      .filter(port => hostPortFamilies(port, addresses).includes(family))
      .map(port => {
        const hostIP = isUnspecified(port.hostIP) ? '' : port.hostIP;
        return { ...port, hostIP, pod: addresses.find(ip => ipFamily(ip) === family)! };
      }),
  );
  // Those of one address first: they are meant before those of all.
  return [...all.filter(({ hostIP }) => hostIP !== ''), ...all.filter(({ hostIP }) => hostIP === '')];
}

const bits = (family: IPFamily) => (family === 'IPv4' ? 32 : 128);
const withPort = (ip: string, port: number) => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

function hostPortRules(family: IPFamily, rules: IptablesRules): readonly string[] {
  const { hostPorts: chain } = IPTABLES_CHAINS;
  // No packet from ::1 leaves the node, whatever its source is rewritten to.
  const never = family === 'IPv4' ? [] : [`-A ${chain} -d ::1/128 -j RETURN`];
  const lines = portsOf(family, rules).map(({ pod, hostIP, hostPort, protocol, containerPort }) => {
    const to = hostIP === '' ? '' : ` -d ${hostIP}/${bits(family)}`;
    const port = `-p ${protocol} -m ${protocol} --dport ${hostPort}`;
    return `-A ${chain}${to} ${port} -j DNAT --to-destination ${withPort(pod, containerPort)}`;
  });
  return [...never, ...lines];
}

function sourceRules(family: IPFamily, rules: IptablesRules): readonly string[] {
  const { sources: chain } = IPTABLES_CHAINS;
  const { pods, networks, unmasqueraded } = rules;
  const toItself = portsOf(family, rules).flatMap(({ pod, hostPort, protocol, containerPort }) => {
    const port = `-p ${protocol} -m ${protocol} --dport ${containerPort} ${SENT_ON} --ctorigdstport ${hostPort}`;
    // The answer has to come by.
    return networks.map(network => `-A ${chain} -s ${network} -d ${pod}/${bits(family)} ${port} ${MASQUERADE}`);
  });
  const fromLoopback = `-A ${chain} -s 127.0.0.0/8 ! -o lo ${SENT_ON} ${MASQUERADE}`;
  const masked = pods.flatMap(({ masquerade, addresses }) =>
    masquerade ? addresses.filter(ip => ipFamily(ip) === family) : [],
  );
  return [
    ...toItself,
    ...(family === 'IPv4' ? [fromLoopback] : []),
    ...[...unmasqueraded, MULTICAST[family]].map(range => `-A ${chain} -d ${range} -j RETURN`),
    ...masked.map(ip => `-A ${chain} -s ${ip}/${bits(family)} ${MASQUERADE}`),
  ];
}

/** With route_localnet on a bridge, the network behind it could reach what listens on 127.0.0.0/8 (CVE-2020-8558), or pretend to come from there. */
function localnetChain(): IptablesChain {
  const { localnet: name } = IPTABLES_CHAINS;
  const state = '! -i lo -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP';
  const rules = ['-d', '-s'].map(side => `-A ${name} ${side} 127.0.0.0/8 ${state}`);
  return { table: 'filter', name, jumps: [`-A INPUT -j ${name}`], rules };
}

/**
 * Input of `iptables-restore --noflush`: our chains with these rules and nothing else, and the jumps where `saved` (what iptables-save printed) hasn't exactly one of each.
 * The one in INPUT goes first, those for hostPorts last.
 */
export function restoreText(chains: readonly IptablesChain[], saved: string): string {
  return byTable(chains, ({ jumps, rules }) => [
    ...rules,
    ...jumps.flatMap(jump => {
      const there = linesOf(saved).filter(line => line === jump);
      const place = jump.startsWith('-A INPUT ') ? jump.replace('-A INPUT ', '-I INPUT 1 ') : jump;
      return there.length === 1 ? [] : [...there.map(deletion), place];
    }),
  ]);
}

/** Takes chains and jumps away, as far as `saved` has them; '' where it has none. */
export function removalText(chains: readonly IptablesChain[], saved: string): string {
  const found = chains.filter(({ name }) => saved.includes(`\n:${name} `));
  if (found.length === 0) return '';
  return byTable(found, ({ name }) => [
    ...linesOf(saved)
      .filter(line => line.endsWith(` -j ${name}`))
      .map(deletion),
    `-X ${name}`,
  ]);
}

/** What of iptables-save's text is ours, rules and jumps, as lines in their order. */
export function ownLines(saved: string): readonly string[] {
  const names = Object.values(IPTABLES_CHAINS);
  return linesOf(saved).filter(line =>
    names.some(name => line.startsWith(`-A ${name} `) || line.endsWith(` -j ${name}`)),
  );
}

const linesOf = (text: string) => text.split('\n');
const deletion = (rule: string) => rule.replace('-A ', '-D ');

function byTable(chains: readonly IptablesChain[], lines: (chain: IptablesChain) => readonly string[]): string {
  const text = (['nat', 'filter'] as const).flatMap(table => {
    const own = chains.filter(chain => chain.table === table);
    const names = own.map(({ name }) => `:${name} - [0:0]`);
    return own.length === 0 ? [] : [`*${table}`, ...names, ...own.flatMap(lines), 'COMMIT'];
  });
  return `${text.join('\n')}\n`;
}
