/** What a Plan of the nftables mode is made of. Pure. */
import type { Expression } from '../../netfilter/expressions.ts';
import type { BaseChain, SetSpec } from '../../netfilter/messages.ts';

export interface PlannedRule {
  readonly expressions: readonly Expression[];
  readonly comment?: string;
}

export interface ChainObject {
  readonly kind: 'chain';
  /** Of a chain at a hook. */
  readonly base?: BaseChain;
  readonly rules: readonly PlannedRule[];
}

/** A set or map; what is in the shared ones belongs to frontends. */
export interface SetObject {
  readonly kind: 'set';
  readonly spec: SetSpec;
}

export interface Pool {
  /** The chain that chooses; absent in the kernel only where somebody deleted the element. */
  readonly chain?: string;
  /** `address:port` by slot, in any order, but for a hash, where the place decides; '' = a slot that is missing in the kernel. */
  readonly endpoints: readonly string[];
}

/** One address and port that clients use, with all its elements. */
export interface Frontend extends Pool {
  readonly kind: 'frontend';
  /** Names the Service port, for people: the elements' comment. */
  readonly service: string;
  /** For pods and the node itself, where policy Local keeps others to local endpoints. */
  readonly inside?: Pool;
  /** The chain in which it is decided whose source is rewritten; absent for cluster IPs. */
  readonly source?: string;
  /** The chain for packets that were sent to no endpoint. */
  readonly refusal?: string;
  /** CIDRs whose packets are let in; absent = all. */
  readonly allowed?: readonly string[];
  /** Addresses of endpoints that may reach themselves by it. */
  readonly hairpins?: readonly string[];
  /** The chain that remembers clients. */
  readonly learner?: string;
}

/** An address of a Service: what is sent to another port of it is refused. */
export interface ClusterIPObject {
  readonly kind: 'cluster-ip';
  readonly service: string;
}

/** The endpoints of a Service port with session affinity: clients that `map` sends elsewhere are forgotten. */
export interface MembersObject {
  readonly kind: 'members';
  readonly map: string;
  readonly endpoints: readonly string[];
}

/** What is in one of our sets but in a form that no Plan has. */
export interface StrangeObject {
  readonly kind: 'strange';
  readonly set: string;
  readonly key: Buffer;
  readonly keyEnd?: Buffer;
}

export type NftObject = ChainObject | SetObject | Frontend | ClusterIPObject | MembersObject | StrangeObject;

/** Any address: NodePorts have none of their own. */
export const ANY_ADDRESS = '*';

export interface FrontendAddress {
  /** Canonical, or ANY_ADDRESS. */
  readonly ip: string;
  readonly port: number;
  /** TCP, UDP or SCTP. */
  readonly protocol: string;
}

export function chainKey(name: string): string {
  return `chain/${name}`;
}

export function setKey(name: string): string {
  return `set/${name}`;
}

export function clusterIPKey(ip: string): string {
  return `cluster-ip/${ip}`;
}

/** `set` is the name of the set that they are in. */
export function membersKey(set: string): string {
  return `members/${set}`;
}

export function frontendKey({ ip, port, protocol }: FrontendAddress): string {
  return `frontend/${ip} ${protocol} ${port}`;
}

const PREFIX = /^[a-z-]+\//;

/** What stands behind the kind in a key. */
export function nameInKey(key: string): string {
  return key.replace(PREFIX, '');
}

/** The reverse of `frontendKey`. */
export function frontendOfKey(key: string): FrontendAddress {
  const [ip = '', protocol = '', port = ''] = nameInKey(key).split(' ');
  return { ip, protocol, port: Number(port) };
}
