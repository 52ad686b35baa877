import type { IPFamily, Protocol, TrafficPolicy } from '../watch/objects.ts';

export const API_VERSION = 'kproxy-ts.dev/v1alpha1';

/**
 * What `kproxy-ts dump -o json` prints and the daemon's socket answers. The shape is stable within its apiVersion: fields may
 * be added, never renamed or removed.
 */
export interface DumpState {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: 'Dump';
  /** Who told: the daemon, which knows what is desired, or the kernel alone, which knows what is there. */
  readonly source: 'daemon' | 'kernel';
  /** The name of the Node object; the host's name when the kernel told. */
  readonly node: string;
  /** The proxy mode: `nftables` or `iptables`. */
  readonly mode: string;
  readonly families: readonly DumpFamily[];
  /** A line for each address and port that several Services claim: who has it, who doesn't. */
  readonly contested: readonly string[];
}

/** One IP family of the node. */
export interface DumpFamily {
  readonly family: IPFamily;
  /**
   * How far the states of rules can be trusted. `steady`: desired and there were compared while neither changed. `moving`:
   * syncs ran meanwhile, differences may be on their way. `none`: nothing is known to be desired (no daemon, or its first
   * list isn't complete), rules are shown as they are.
   */
  readonly comparison: 'steady' | 'moving' | 'none';
  /** Sorted by namespace, name, port and protocol. */
  readonly services: readonly DumpServicePort[];
  /** The rules that exist however many Services there are, and those of nobody known. */
  readonly shared: DumpRules;
}

/** One port of one Service. */
export interface DumpServicePort extends DumpRules {
  readonly namespace: string;
  readonly name: string;
  /** The port's name; '' when it has none. */
  readonly port: string;
  readonly protocol: Protocol;
  /** Those that this port owns; what it lost to another Service is in `contested`. */
  readonly addresses: readonly DumpAddress[];
  /** null when the kernel alone was asked and its rules don't tell. */
  readonly internalTrafficPolicy: TrafficPolicy | null;
  readonly externalTrafficPolicy: TrafficPolicy | null;
  readonly endpoints: readonly DumpEndpoint[];
}

export interface DumpAddress {
  readonly kind: 'clusterIP' | 'nodePort' | 'externalIP' | 'loadBalancerIP';
  /** Absent for a nodePort. */
  readonly ip?: string;
  readonly port: number;
}

/** The conditions are those of the EndpointSlice; null when the kernel alone was asked. */
export interface DumpEndpoint {
  readonly ip: string;
  readonly port: number;
  readonly ready: boolean | null;
  readonly serving: boolean | null;
  readonly terminating: boolean | null;
  /** It runs on this node. */
  readonly local: boolean | null;
  /** Traffic that enters on this node may be sent to it. */
  readonly used: boolean;
}

export interface DumpRules {
  /** In the order in which a packet meets them; the rules of one chain in their order. */
  readonly rules: readonly DumpRule[];
  /**
   * `ok`: all is there and nothing else. `missing`: nothing of it is there. `differs`: some rules are missing or unexpected.
   * `unchecked`: shown as it is, see `comparison`.
   */
  readonly state: 'ok' | 'missing' | 'differs' | 'unchecked';
}

export interface DumpRule {
  readonly table: string;
  /** In mode nftables also the set or map that has the element. */
  readonly chain: string;
  /**
   * In mode iptables a rule as iptables-save prints it after `-A CHAIN`. In mode nftables a rule of the chain, an element of the set, or a line of what the
   * chain or set is (`type …`), each as `nft list` prints it. '' for the chain itself, where that is all there is to say.
   */
  readonly rule: string;
  readonly state: 'ok' | 'missing' | 'unexpected' | 'unchecked';
}

/** The state that follows from the rules. */
export function withState(rules: readonly DumpRule[]): DumpRules {
  const is = (state: DumpRule['state']) => (rule: DumpRule) => rule.state === state;
  if (rules.every(is('ok'))) return { rules, state: 'ok' };
  if (rules.every(is('missing'))) return { rules, state: 'missing' };
  const differs = rules.some(rule => rule.state === 'missing' || rule.state === 'unexpected');
  return { rules, state: differs ? 'differs' : 'unchecked' };
}

/** `namespace/name:port`, as kube-proxy writes it. */
export function serviceText({ namespace, name, port }: Pick<DumpServicePort, 'namespace' | 'name' | 'port'>): string {
  return port === '' ? `${namespace}/${name}` : `${namespace}/${name}:${port}`;
}

/** By namespace, name, port and protocol. */
export function sortServices(services: readonly DumpServicePort[]): DumpServicePort[] {
  const keyed = services.map(service => ({ key: `${serviceText(service)}/${service.protocol}`, service }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)).map(({ service }) => service);
}

/**
 * Only the named Services: `namespace/name`, or `name` in any namespace, either with `:port`. `unknown` are those names that
 * no Service has. No names select everything.
 */
export function selectServices(
  state: DumpState,
  names: readonly string[],
): { readonly state: DumpState; readonly unknown: readonly string[] } {
  if (names.length === 0) return { state, unknown: [] };
  const families = state.families.map(family => ({
    ...family,
    services: family.services.filter(service => names.some(name => isNamed(service, name))),
  }));
  const found = families.flatMap(family => family.services);
  const unknown = names.filter(name => !found.some(service => isNamed(service, name)));
  return { state: { ...state, families }, unknown };
}

function isNamed(service: DumpServicePort, name: string): boolean {
  const texts = [service.name, serviceText(service)];
  texts.push(`${service.namespace}/${service.name}`, `${service.name}:${service.port}`);
  return texts.includes(name);
}

/** Whether an answer is a dump of the version that this program knows. */
export function isDumpState(value: unknown): value is DumpState {
  return (
    typeof value === 'object' &&
    value !== null &&
    'apiVersion' in value &&
    value.apiVersion === API_VERSION &&
    'kind' in value &&
    value.kind === 'Dump'
  );
}
