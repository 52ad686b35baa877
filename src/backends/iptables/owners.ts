import type { OwnedObjects, Ownership } from '../../dump/format.ts';
import type { ServicePortName } from '../../endpoints/types.ts';
import type { Protocol } from '../../watch/objects.ts';
import {
  CHAIN,
  clusterPolicyChain,
  externalChain,
  firewallChain,
  isServiceChain,
  localPolicyChain,
  nodePortFirewallChain,
} from './names.ts';
import type { IptablesObject } from './objects.ts';
import { jumpOf, parseRule } from './rule-fields.ts';

type Chain = Extract<IptablesObject, { kind: 'chain' }>;

const ENTRY_CHAINS: ReadonlySet<string> = new Set([
  CHAIN.services,
  CHAIN.externalServices,
  CHAIN.nodePorts,
  CHAIN.proxyFirewall,
]);
const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];

/** The comments of rules of a Service, kube-proxy's and ours, around `namespace/name:port`. */
const SUBJECT =
  /^(?:pod traffic for |masquerade traffic for |masquerade LOCAL traffic for |route LOCAL traffic for )?([^\s/]+\/[^\s/]+?)(?: .*)?$/;

/**
 * Which ServicePort each object in the kernel belongs to, from names and comments alone. Entries and chains name their Service
 * in a comment, and the name of a chain is a hash of it; endpoint chains without comments (kube-proxy leaves them out in large
 * clusters) belong to the chain that jumps to them.
 */
export function groupByOwner(objects: Iterable<IptablesObject>): Ownership<IptablesObject> {
  const groups = new Map<string, OwnedObjects<IptablesObject>>();
  const chains = new Map<string, Chain>();
  const ownerOfChain = new Map<string, string>();
  const rest: IptablesObject[] = [];
  const healthChecks: IptablesObject[] = [];
  const adopt = (name: ServicePortName): string => {
    const key = ownerKey(name);
    if (groups.has(key)) return key;
    groups.set(key, { name, objects: [] });
    for (const chain of chainNames(name)) ownerOfChain.set(chain, key);
    return key;
  };
  for (const object of objects) {
    if (object.kind === 'chain' && isServiceChain(object.name)) chains.set(object.name, object);
    else if (isHealthCheck(object)) healthChecks.push(object);
    else {
      const name = entryOwner(object);
      if (name === undefined) rest.push(object);
      else groups.get(adopt(name))?.objects.push(object);
    }
  }
  // Jumps first: they are quick to follow, and leave few chains whose comments must be read.
  followJumps(chains, ownerOfChain);
  for (const chain of chains.values()) {
    if (ownerOfChain.has(chain.name)) continue;
    const name = chainOwner(chain);
    if (name !== undefined) ownerOfChain.set(chain.name, adopt(name));
  }
  followJumps(chains, ownerOfChain);
  for (const chain of chains.values()) {
    const group = groups.get(ownerOfChain.get(chain.name) ?? '');
    (group?.objects ?? rest).push(chain);
  }
  // Always over TCP, whatever protocol the port has that the comment names.
  for (const object of healthChecks) {
    const keys = ownerCandidates(object).map(ownerKey);
    (keys.map(key => groups.get(key)?.objects).find(objects => objects !== undefined) ?? rest).push(object);
  }
  return { owned: groups, rest };
}

/** The same text as servicePortKey gives. */
function ownerKey({ namespace, name, port, protocol }: ServicePortName): string {
  return `${textOf(namespace, name, port)}/${protocol}`;
}

function textOf(namespace: string, name: string, port: string): string {
  return port === '' ? `${namespace}/${name}` : `${namespace}/${name}:${port}`;
}

function chainNames({ namespace, name, port, protocol }: ServicePortName): string[] {
  const text = textOf(namespace, name, port);
  const names = [clusterPolicyChain, localPolicyChain, externalChain, firewallChain, nodePortFirewallChain];
  return names.map(name => name(text, protocol));
}

function servicePortName(subject: string, protocol: Protocol): ServicePortName {
  const [, namespace = '', name = '', port = ''] = /^([^/]+)\/([^:]+):?(.*)$/.exec(subject) ?? [];
  return { namespace, name, port, protocol };
}

function isHealthCheck(object: IptablesObject): object is Extract<IptablesObject, { kind: 'rule' }> {
  return object.kind === 'rule' && object.table === 'filter' && object.chain === CHAIN.nodePorts;
}

function ownerCandidates(object: IptablesObject): ServicePortName[] {
  const subject = object.kind === 'rule' ? SUBJECT.exec(parseRule(object.rule).comment)?.[1] : undefined;
  return subject === undefined ? [] : PROTOCOLS.map(candidate => servicePortName(subject, candidate));
}

function entryOwner(object: IptablesObject): ServicePortName | undefined {
  if (object.kind !== 'rule' || !ENTRY_CHAINS.has(object.chain)) return undefined;
  const { comment, protocol } = parseRule(object.rule);
  const subject = SUBJECT.exec(comment)?.[1];
  const known = PROTOCOLS.find(candidate => candidate.toLowerCase() === protocol);
  return subject === undefined || known === undefined ? undefined : servicePortName(subject, known);
}

/** The owner by a comment in the chain: with the protocol of the DNAT beside it, or the one that gives the chain's name. */
function chainOwner(chain: Chain): ServicePortName | undefined {
  for (const rule of chain.rules.split('\n')) {
    const { comment, protocol, toDestination } = parseRule(rule);
    const subject = SUBJECT.exec(comment)?.[1];
    if (subject === undefined) continue;
    const names = PROTOCOLS.map(candidate => servicePortName(subject, candidate));
    if (toDestination !== '') return names.find(name => name.protocol.toLowerCase() === protocol);
    if (chain.name.startsWith('KUBE-SEP-')) continue;
    const proven = names.find(name => chainNames(name).includes(chain.name));
    if (proven !== undefined) return proven;
  }
  return undefined;
}

function followJumps(chains: ReadonlyMap<string, Chain>, ownerOfChain: Map<string, string>): void {
  // Owned chains may jump to unowned ones, which are then owned and looked at in turn.
  for (const [name, owner] of ownerOfChain) {
    for (const rule of chains.get(name)?.rules.split('\n') ?? []) {
      const target = jumpOf(rule);
      if (chains.has(target) && !ownerOfChain.has(target)) ownerOfChain.set(target, owner);
    }
  }
}
