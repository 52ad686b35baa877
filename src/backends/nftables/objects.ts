/** What a Plan of the nftables mode is made of. Pure. */
import type { Expression } from '../../netfilter/expressions.ts';
import type { BaseChain, SetSpec } from '../../netfilter/messages.ts';

export interface PlannedRule {
  readonly expressions: readonly Expression[];
  readonly comment?: string;
}

/** The table itself; while it is dormant, no packet meets it. */
export interface TableObject {
  readonly kind: 'table';
  readonly isDormant: boolean;
}

export interface ChainObject {
  readonly kind: 'chain';
  readonly name: string;
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
  readonly where: FrontendAddress;
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
  readonly ip: string;
  readonly service: string;
}

/** The endpoints of a Service port with session affinity: clients that `map` sends elsewhere are forgotten. */
export interface MembersObject {
  readonly kind: 'members';
  /** The set that they are in. */
  readonly set: string;
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

export type NftObject =
  | TableObject
  | ChainObject
  | SetObject
  | Frontend
  | ClusterIPObject
  | MembersObject
  | StrangeObject;

/** Any address: NodePorts have none of their own. */
export const ANY_ADDRESS = '*';

export interface FrontendAddress {
  /** Canonical, or ANY_ADDRESS. */
  readonly ip: string;
  readonly port: number;
  /** TCP, UDP or SCTP. */
  readonly protocol: string;
}

export function frontendKey({ ip, port, protocol }: FrontendAddress): string {
  return `frontend/${ip} ${protocol} ${port}`;
}

/** The key of an object in a Plan. */
export function keyOf(object: NftObject): string {
  switch (object.kind) {
    case 'table':
      return 'table';
    case 'chain':
      return `chain/${object.name}`;
    case 'set':
      return `set/${object.spec.name}`;
    case 'frontend':
      return frontendKey(object.where);
    case 'cluster-ip':
      return `cluster-ip/${object.ip}`;
    case 'members':
      return `members/${object.set}`;
    case 'strange':
      return `strange/${object.set} ${object.key.toString('hex')}`;
  }
}

/** Objects by their keys, in their order. */
export function byKey(objects: Iterable<NftObject>): Map<string, NftObject> {
  const found = new Map<string, NftObject>();
  for (const object of objects) found.set(keyOf(object), object);
  return found;
}
