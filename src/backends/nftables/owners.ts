/** Which ServicePort each object in the kernel belongs to, from names and comments alone. Pure. */
import type { OwnedObjects, Ownership } from '../../dump/format.ts';
import { type ServicePortName, servicePortKey, servicePortText } from '../../endpoints/types.ts';
import { cutComment } from '../../netfilter/messages.ts';
import type { Protocol } from '../../watch/objects.ts';
import { isOfOnePort, portOfName } from './names.ts';
import type { NftObject } from './objects.ts';

type ClusterIP = Extract<NftObject, { readonly kind: 'cluster-ip' }>;

/**
 * Frontends name their ServicePort in a comment, whose end is cut off where it is too long; what belongs to one port alone has its name. A cluster
 * IP names its Service: all ports of it have the object, as in a plan.
 */
export function groupByOwner(objects: Iterable<NftObject>): Ownership<NftObject> {
  const groups = new Map<string, { name: ServicePortName; objects: NftObject[] }>();
  const clusterIPs: ClusterIP[] = [];
  const rest: NftObject[] = [];
  for (const object of objects) {
    if (object.kind === 'cluster-ip') {
      clusterIPs.push(object);
      continue;
    }
    const owner = ownerOf(object);
    if (owner === undefined) {
      rest.push(object);
      continue;
    }
    const { name, isWhole } = owner;
    const key = `${cutComment(servicePortText(name))}/${name.protocol}`;
    const group = groups.get(key) ?? { name, objects: [] };
    if (isWhole) group.name = name;
    group.objects.push(object);
    groups.set(key, group);
  }
  const owned = new Map<string, OwnedObjects<NftObject>>();
  for (const group of groups.values()) owned.set(servicePortKey(group.name), group);
  rest.push(...withoutOwner(clusterIPs, owned.values()));
  return { owned, rest };
}

/** Of a comment that is cut, the first so many characters are the text's own (see cutComment). */
const NEVER_CUT = 124;

/** Gives cluster IPs to the ports of their Services; those that no port takes. */
function withoutOwner(clusterIPs: readonly ClusterIP[], groups: Iterable<OwnedObjects<NftObject>>): ClusterIP[] {
  const ports = new Map<string, OwnedObjects<NftObject>[]>();
  for (const group of groups) {
    const service = `${group.name.namespace}/${group.name.name}`.slice(0, NEVER_CUT);
    ports.set(service, [...(ports.get(service) ?? []), group]);
  }
  return clusterIPs.filter(object => {
    const owners = ports.get(object.service.slice(0, NEVER_CUT)) ?? [];
    for (const { objects } of owners) objects.push(object);
    return owners.length === 0;
  });
}

interface Owner {
  readonly name: ServicePortName;
  /** Nothing of it is cut off. */
  readonly isWhole: boolean;
}

function ownerOf(object: Exclude<NftObject, ClusterIP>): Owner | undefined {
  switch (object.kind) {
    case 'frontend':
      return commented(object.service, object.where.protocol as Protocol);
    case 'chain':
      return named(object.name);
    case 'set':
      return named(object.spec.name);
    case 'table':
      return undefined;
    case 'members':
    case 'strange':
      return named(object.set);
  }
}

function named(text: string): Owner | undefined {
  const name = isOfOnePort(text) ? portOfName(text) : undefined;
  return name === undefined ? undefined : { name, isWhole: true };
}

function commented(text: string, protocol: Protocol): Owner | undefined {
  const [, namespace, name, port = ''] = /^([^/]+)\/([^:]+):?(.*)$/.exec(text) ?? [];
  if (namespace === undefined || name === undefined) return undefined;
  return { name: { namespace, name, port, protocol }, isWhole: false };
}
