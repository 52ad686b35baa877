import type { Map as ImmutableMap } from 'immutable';
import type { Protocol } from '../watch/objects.ts';
import { type ServicePort, type ServicePortName, servicePortKey, servicePortText } from './types.ts';

/** Claimants of each address and port, the owner first. */
export type Claims = ImmutableMap<string, readonly ServicePort[]>;

/** An address, or a nodePort on whatever address of the node, with port and protocol. */
export interface Claim {
  /** undefined = a nodePort. */
  readonly ip: string | undefined;
  readonly port: number;
  readonly protocol: Protocol;
}

/** The key of a claim. */
export function claimKey({ ip = 'nodePort', port, protocol }: Claim): string {
  return `${ip} ${port}/${protocol}`;
}

/** The claim that a key stands for. */
export function parseClaim(key: string): Claim {
  const [ip, rest = ''] = key.split(' ');
  const [port, protocol] = rest.split('/');
  return { ip: ip === 'nodePort' ? undefined : ip, port: Number(port), protocol: protocol as Protocol };
}

function addressClaim(port: ServicePort, ip: string): string {
  return claimKey({ ip, port: port.port, protocol: port.name.protocol });
}

function nodePortClaim(port: ServicePort): string {
  return claimKey({ ip: undefined, port: port.nodePort, protocol: port.name.protocol });
}

/** Everything that a ServicePort wants to be the only owner of, each key once. */
export function claimsOf(port: ServicePort): ReadonlySet<string> {
  const keys = new Set<string>();
  for (const ip of [port.clusterIP, ...port.externalIPs, ...port.loadBalancerVIPs]) keys.add(addressClaim(port, ip));
  if (port.nodePort !== 0) keys.add(nodePortClaim(port));
  return keys;
}

/**
 * Whose own cluster IP it is comes first: an externalIP is anybody's to write, and must not take another Service's traffic
 * (CVE-2020-8554). Then the older Service, then by namespace/name, then by the port's own key. An unknown age counts as the youngest.
 */
export function compareClaimants(a: ServicePort, b: ServicePort, key: string): number {
  const isOwnAddress = (port: ServicePort) => addressClaim(port, port.clusterIP) === key;
  if (isOwnAddress(a) !== isOwnAddress(b)) return isOwnAddress(a) ? -1 : 1;
  const byAge = compareText(a.creationTimestamp || '~', b.creationTimestamp || '~');
  if (byAge !== 0) return byAge;
  const byName = compareText(`${a.name.namespace}/${a.name.name}`, `${b.name.namespace}/${b.name.name}`);
  return byName !== 0 ? byName : compareText(servicePortKey(a.name), servicePortKey(b.name));
}

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** The claims after one Service asked for `next` instead of `previous`; `touched` receives every key whose claimants changed. */
export function replaceClaims(
  claims: Claims,
  change: { previous: readonly ServicePort[]; next: readonly ServicePort[] },
  touched: Set<string>,
): Claims {
  return claims.withMutations(map => {
    for (const port of change.previous) {
      for (const key of claimsOf(port)) {
        const rest = (map.get(key) ?? []).filter(claimant => claimant !== port);
        if (rest.length === 0) map.delete(key);
        else map.set(key, rest);
        touched.add(key);
      }
    }
    for (const port of change.next) {
      for (const key of claimsOf(port)) {
        const others = map.get(key);
        map.set(key, others === undefined ? [port] : [...others, port].sort((a, b) => compareClaimants(a, b, key)));
        touched.add(key);
      }
    }
  });
}

/** The ServicePort with only those addresses that it owns; the same object when it owns all of them. */
export function settle(port: ServicePort, claims: Claims): ServicePort {
  const owns = (key: string) => claims.get(key)?.[0] === port;
  if ([...claimsOf(port)].every(owns)) return port;
  const isOwned = (ip: string) => owns(addressClaim(port, ip));
  return {
    ...port,
    clusterIP: isOwned(port.clusterIP) ? port.clusterIP : '',
    nodePort: port.nodePort !== 0 && owns(nodePortClaim(port)) ? port.nodePort : 0,
    externalIPs: port.externalIPs.filter(isOwned),
    loadBalancerVIPs: port.loadBalancerVIPs.filter(isOwned),
  };
}

/** One line for people: who has what others want too. */
export function describeContest(key: string, claims: Claims): string {
  const [owner, ...losers] = (claims.get(key) ?? []).map(port => servicePortText(port.name));
  return `${key} belongs to ${owner}; also claimed by ${losers.join(', ')}`;
}

/** A Service port that asks for an address and port, or a node port, that another has. */
export interface Loss {
  /** `10.96.0.10 80/TCP`, `nodePort 30080/TCP`. */
  readonly key: string;
  readonly loser: ServicePortName;
  readonly owner: ServicePortName;
}

/** Who doesn't have what it asks for and wasn't without it before. */
export function newLosses(key: string, before: Claims, after: Claims): readonly Loss[] {
  const [owner, ...losers] = after.get(key) ?? [];
  const [, ...former] = before.get(key) ?? [];
  if (owner === undefined) return [];
  const known = new Set(former.map(({ name }) => servicePortKey(name)));
  return losers
    .filter(({ name }) => !known.has(servicePortKey(name)))
    .map(({ name }) => ({ key, loser: name, owner: owner.name }));
}
