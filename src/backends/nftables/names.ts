/** The names of everything in our table. Pure. */
import { createHash } from 'node:crypto';
import type { ServicePortName } from '../../endpoints/types.ts';
import type { Protocol } from '../../watch/objects.ts';

/** One of families ip and ip6. */
export const TABLE = 'kproxy-ts';

/** Sets and maps that all Services share. A frontend is an address, a protocol and a port; of a NodePort, any address (all zeros). */
export const SETS = {
  /** frontend → the chain that chooses among its endpoints */
  services: 'services',
  /** frontend, slot → endpoint */
  endpoints: 'endpoints',
  /** frontend with external policy Local → the chain that chooses for pods and the node itself */
  inside: 'inside',
  /** frontend from outside the cluster → whose source is rewritten */
  external: 'external',
  /** frontend → what becomes of a packet that was sent to no endpoint */
  refused: 'refused',
  /** frontend with source ranges, client */
  allowed: 'allowed',
  /** client, endpoint, frontend: where an endpoint may reach itself */
  hairpins: 'hairpins',
  /** frontend with session affinity → the chain that remembers its clients */
  learners: 'learners',
  clusterIPs: 'cluster-ips',
} as const;

export const CHAINS = {
  natPrerouting: 'nat-prerouting',
  natOutput: 'nat-output',
  natPostrouting: 'nat-postrouting',
  filterInput: 'filter-input',
  filterForward: 'filter-forward',
  filterOutput: 'filter-output',
  services: 'dispatch',
  nodePorts: 'dispatch-node-ports',
  check: 'check',
  checkRouted: 'check-routed',
  checkNodePorts: 'check-node-ports',
  /** Only while a Service has session affinity, as are the chains at the hooks that lead there. */
  learn: 'learn',
  rememberInput: 'remember-input',
  rememberForward: 'remember-forward',
  rememberOutput: 'remember-output',
  sourceOfClusterIP: 'source-cluster-ip',
  sourceOfNodePort: 'source-node-port',
  sourceOfPolicyLocal: 'source-policy-local',
  masquerade: 'rewrite-source',
  refuse: 'refuse',
  drop: 'discard',
  guardedRefusal: 'guarded-refusal',
  guardedDrop: 'guarded-discard',
} as const;

/** Slots from here on are those of a frontend's `inside` set. */
export const INSIDE_SLOTS = 2 ** 31;

/** How a frontend's endpoint is chosen. */
export interface Choice {
  /** Slots to choose among by chance; 'hash' = one of MAGLEV_SLOTS by the client's address. */
  readonly slots: number | 'hash';
  /** Of a NodePort: the frontend has no address. */
  readonly isNodePort: boolean;
  /** Among the endpoints for pods and the node itself. */
  readonly isInside: boolean;
}

export function choiceChain({ slots, isNodePort, isInside }: Choice): string {
  return `${isNodePort ? 'node-' : ''}${slots === 'hash' ? 'hash' : `lb-${slots}`}${isInside ? '-inside' : ''}`;
}

const AFFINITY = 'affinity-';
const LEARN = 'learn-';
const MEMBERS = 'members-';

/** Of clients that policy Local keeps to local endpoints, while there are others. */
const LOCAL = 'local-';

/** The map that remembers the clients of a ServicePort. */
export function affinityMap(name: ServicePortName, isLocal = false): string {
  return AFFINITY + (isLocal ? LOCAL : '') + portId(name);
}

/** The endpoints of such a ServicePort. */
export function membersSet(name: ServicePortName, isLocal = false): string {
  return MEMBERS + (isLocal ? LOCAL : '') + portId(name);
}

export function isMembersSet(name: string): boolean {
  return name.startsWith(MEMBERS);
}

/** The map of the clients of those in a set of endpoints. */
export function affinityMapOf(members: string): string {
  return AFFINITY + members.slice(MEMBERS.length);
}

/** The chain that asks the map first; `then` is the one that chooses. */
export function affinityChain(map: string, then: string): string {
  return `${map}-${then}`;
}

export function learnChain(name: ServicePortName): string {
  return LEARN + portId(name);
}

/** Whether a chain or set belongs to one ServicePort alone. */
export function isOfOnePort(name: string): boolean {
  return [AFFINITY, LEARN, MEMBERS].some(word => name.includes(word));
}

/** NFT_NAME_MAXLEN is 256 with the closing NUL, and ours have words before and behind it. */
const MAX_ID = 160;

/** Unique by its hash, whatever is cut off behind it; the rest is for people, in characters that nft takes unquoted. */
function portId({ namespace, name, port, protocol }: ServicePortName): string {
  const text = `${namespace}/${name}/${protocol.toLowerCase()}/${port}`;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return `${hash}-${text.replaceAll(/[^\w./-]/g, '_')}`.slice(0, MAX_ID);
}

/** What a choice's name may add behind a port's: a port may have such a name itself, and the hash decides. */
const CHOICES = [/-(?:lb-\d+|hash)(?:-inside)?$/, /-node-(?:lb-\d+|hash)(?:-inside)?$/];

/** The ServicePort that a chain or set belongs to alone, from its name; undefined where that is cut off, or isn't of our making. */
export function portOfName(name: string): ServicePortName | undefined {
  const [, id = ''] = /(?:affinity|learn|members)-(?:local-)?(.*)$/.exec(name) ?? [];
  const [, namespace, service, protocol, rest] = /^[0-9a-f]{8}-([^/]+)\/([^/]+)\/(tcp|udp|sctp)\/(.*)$/.exec(id) ?? [];
  if (namespace === undefined || service === undefined || protocol === undefined || rest === undefined)
    return undefined;
  const ports = [rest, ...CHOICES.map(choice => rest.replace(choice, ''))];
  const names = ports.map(port => ({ namespace, name: service, port, protocol: protocol.toUpperCase() as Protocol }));
  return names.find(candidate => id.startsWith(portId(candidate)));
}

/** The chains that all Services with session affinity share. */
export const LEARNING: readonly string[] = [
  CHAINS.learn,
  CHAINS.rememberInput,
  CHAINS.rememberForward,
  CHAINS.rememberOutput,
];

const SHARED_CHOICE = /^(?:guard-)?(?:local-)?(?:(?:node-)?(?:lb-\d+|hash)(?:-inside)?|(?:node-)?none)$/;

/** Whether Services plan a chain together: it may be there when none of them does any more. */
export function isPlannedTogether(chain: string): boolean {
  return SHARED_CHOICE.test(chain) || LEARNING.includes(chain);
}
