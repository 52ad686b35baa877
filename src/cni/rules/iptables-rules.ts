/**
 * The rules of pods as iptables has them: the same as tables.ts, in five chains. What is an element there is a rule here, and not of an `ipset`: its program is on few nodes, a restore copies
 * the whole table anyway, and only the first packet of a connection of a pod passes along the rules of pods. Pure.
 */
import { comment, destinationPort, host, rule, TO_NODE, target } from '../../backends/iptables/rules.ts';
import type { IPFamily } from '../../net/ip.ts';
import { ipFamily, isUnspecified } from '../../net/ip.ts';
import type { HostPort } from '../types.ts';
import { hostPortTargets, masqueradeText, ownNetworks } from './elements.ts';
import type { Ledger } from './ledger.ts';
import { IPTABLES_CHAINS as CHAINS } from './names.ts';
import type { PodRules } from './pod-rules.ts';

export type Table = 'nat' | 'filter';

/** A rule of a chain of ours, in the form that iptables-save prints, without `-A CHAIN`. */
export interface OwnRule {
  readonly text: string;
  /** For people. */
  readonly what: string;
}

/** Whole chains, by name. */
export type OwnChains = ReadonlyMap<string, readonly OwnRule[]>;

export interface PlacedRule extends OwnRule {
  readonly chain: string;
}

export const JUMP_COMMENT = 'kproxy-ts: pods of this node';
const MASQUERADE = 'MASQUERADE --random-fully';
const SENT_ON = '-m conntrack --ctstate DNAT';
const LOOPBACK = '127.0.0.0/8';
const MULTICAST: Readonly<Record<IPFamily, string>> = { IPv4: '224.0.0.0/4', IPv6: 'ff00::/8' };

export interface Jump {
  readonly table: Table;
  readonly parent: string;
  readonly chain: string;
  readonly text: string;
  /** Before others' rules; else behind them, so that of a NodePort and a hostPort that are the same, the Service's rule wins. */
  readonly isFirst: boolean;
}

/** How packets come to the chains. */
export function jumpsOf(family: IPFamily): readonly Jump[] {
  // No packet from ::1 leaves the node, whatever its source is rewritten to.
  const never = family === 'IPv4' ? {} : { destination: '! ::1/128' };
  const toNode = rule({ ...never, comment: JUMP_COMMENT, matches: [TO_NODE], jump: CHAINS.hostPorts });
  const all = (jump: string) => rule({ comment: JUMP_COMMENT, jump });
  const ofNat = { table: 'nat', isFirst: false } as const;
  const localnet = { table: 'filter', parent: 'INPUT', chain: CHAINS.localnet, isFirst: true } as const;
  return [
    { ...ofNat, parent: 'PREROUTING', chain: CHAINS.hostPorts, text: toNode },
    { ...ofNat, parent: 'OUTPUT', chain: CHAINS.hostPorts, text: toNode },
    { ...ofNat, parent: 'POSTROUTING', chain: CHAINS.sources, text: all(CHAINS.sources) },
    ...(family === 'IPv4' ? [{ ...localnet, text: all(CHAINS.localnet) }] : []),
  ];
}

/** Empty where no pod has anything. */
export function chainsOf(ledger: Ledger, family: IPFamily): OwnChains {
  const rules = placedRules(ledger, family);
  if (!ledger.families().has(family)) return new Map();
  const names = [CHAINS.hostPorts, CHAINS.hostPortSources, CHAINS.sources, CHAINS.podSources];
  const chains = new Map<string, OwnRule[]>(names.map(name => [name, []]));
  if (family === 'IPv4') chains.set(CHAINS.localnet, localnetRules());
  const known = new Set<string>();
  for (const { chain, text, what } of rules) {
    // An address or a port that two attachments have in common is there once.
    const key = `${chain} ${withoutComment(text)}`;
    if (known.has(key)) continue;
    known.add(key);
    chains.get(chain)!.push({ text, what });
  }
  return chains;
}

function placedRules(ledger: Ledger, family: IPFamily): PlacedRule[] {
  // The same order whoever came first: an agent that starts finds what it would write.
  const known = [...ledger.pods].toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const pods = known.flatMap(pod => podRules(pod, family));
  return [...sharedRules(ledger, family), ...pods.toSorted((a, b) => Number(isOfAny(a)) - Number(isOfAny(b)))];
}

/** hostPorts of one address come before those of all. */
const isOfAny = ({ chain, text }: PlacedRule) => chain === CHAINS.hostPorts && !text.startsWith('-d ');

/** Two rules with the same text but for the comment do the same. */
export const withoutComment = (text: string) => text.replace(/-m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+) /, '');

/** Of all pods together: only a pod's own rules name somebody. */
export const isShared = ({ text }: OwnRule) => !text.includes(' --comment ');

function sharedRules(ledger: Ledger, family: IPFamily): PlacedRule[] {
  const { podNetworks, unmasqueraded } = ledger.networksOf(family);
  const networks = podNetworks.map(({ text }) => text);
  const excepted = [MULTICAST[family], ...new Set(unmasqueraded.map(({ text }) => text))];
  const place = (chain: string, what: string, text: string) => ({ chain, what, text });
  const toPods = (what: string, matches: readonly string[], jump: string) =>
    networks.map(source => place(CHAINS.sources, `${what} ${source}`, rule({ source, matches, jump })));
  const localnet = rule({ source: LOOPBACK, matches: ['! -o lo', SENT_ON], jump: MASQUERADE });
  return [
    ...toPods('what pods send to hostPorts, from', [SENT_ON], CHAINS.hostPortSources),
    ...(family === 'IPv4' ? [place(CHAINS.sources, 'from 127.0.0.1 to hostPorts', localnet)] : []),
    ...toPods('what pods send to the outside, from', [], CHAINS.podSources),
    ...excepted.map(destination =>
      place(CHAINS.podSources, `no masquerade to ${destination}`, rule({ destination, jump: 'RETURN' })),
    ),
  ];
}

/** What a pod has by itself. @throws TypeError for what isn't a canonical address */
export function podRules(pod: PodRules, family: IPFamily): PlacedRule[] {
  const { key, addresses, masquerade, hostPorts, areOfPods } = pod;
  const masked = masquerade ? addresses.filter(address => ipFamily(address) === family) : [];
  const networks = ownNetworks(pod).filter(({ network }) => network.family === family);
  const beside = masquerade && !areOfPods ? networks : [];
  return [
    ...beside.map(({ address, network: { text: destination } }) => ({
      chain: CHAINS.podSources,
      text: rule({ source: host(address), destination, comment: key, jump: 'RETURN' }),
      what: `no masquerade of ${address} to ${destination}`,
    })),
    ...masked.map(address => ({
      chain: CHAINS.podSources,
      text: rule({ source: host(address), comment: key, jump: MASQUERADE }),
      what: masqueradeText(address),
    })),
    ...hostPorts.flatMap(hostPort =>
      hostPortTargets(hostPort, addresses)
        .filter(to => to.family === family)
        .flatMap(({ address, what }) => {
          const own = networks.filter(network => network.address === address).map(({ network }) => network.text);
          return hostPortRules(hostPort, { key, address, what, networks: own });
        }),
    ),
  ];
}

function hostPortRules(
  { hostIP, hostPort, protocol, containerPort }: HostPort,
  {
    key,
    address,
    what,
    networks,
  }: { readonly [key in 'key' | 'address' | 'what']: string } & Pick<PodRules, 'networks'>,
): PlacedRule[] {
  const ip = hostIP === '' || isUnspecified(hostIP) ? undefined : hostIP;
  const destination = ip === undefined ? {} : { destination: host(ip) };
  const jump = `DNAT --to-destination ${target({ ip: address, port: containerPort })}`;
  const to = rule({ ...destination, ...ported(protocol, hostPort, key), jump });
  const original = `-m conntrack ${ip === undefined ? '' : `--ctorigdst ${ip} `}--ctorigdstport ${hostPort}`;
  const back = ported(protocol, containerPort, key, original);
  return [
    { chain: CHAINS.hostPorts, text: to, what },
    ...networks.map(source => ({
      chain: CHAINS.hostPortSources,
      text: rule({ source, destination: host(address), ...back, jump: MASQUERADE }),
      what: `the way back of ${what}`,
    })),
  ];
}

/** The protocol's match stands before the comment, as the kernel's list of matches does then. */
function ported(protocol: string, port: number, key: string, ...matches: readonly string[]) {
  return { protocol, matches: [destinationPort(protocol, port), ...matches, comment(key)] };
}

/** See tables.ts: with route_localnet on a bridge, the network behind it could reach 127.0.0.0/8, or pretend to come from there. */
function localnetRules(): OwnRule[] {
  const isNew = '-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT';
  const guard = (where: string) => `${where} ${LOOPBACK} ! -i lo ${isNew} -j DROP`;
  return ['-d', '-s'].map(where => ({ text: guard(where), what: 'what keeps the network away from 127.0.0.0/8' }));
}
