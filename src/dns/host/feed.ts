/** What the cluster's objects are to workers of DNS. Pure. */
import type { Dirty, Snapshot } from '../../watch/snapshot.ts';
import type { DnsChange } from '../engine.ts';
import { dnsServiceOf } from '../zone/from-objects.ts';

export interface FeedOptions {
  /** Only these have names; empty = all. */
  readonly namespaces: readonly string[];
  readonly endpointPodNames: boolean;
}

type Keys = Pick<Dirty, 'services' | 'namespaces' | 'pods'>;

/** What is different in `after`; `dirty` says where to look. */
export function* changesOf(
  before: Snapshot,
  after: Snapshot,
  dirty: Keys,
  options: FeedOptions,
): Generator<DnsChange, void, undefined> {
  const isVisible = (namespace: string) => options.namespaces.length === 0 || options.namespaces.includes(namespace);
  for (const name of dirty.namespaces) {
    if (isVisible(name)) yield { kind: 'namespace', name, exists: after.namespaces.has(name) };
  }
  for (const key of dirty.services) {
    const [namespace = '', name = ''] = key.split('/');
    if (isVisible(namespace)) yield { kind: 'service', namespace, name, service: serviceOf(after, key, options) };
  }
  for (const key of dirty.pods) {
    const [namespace = ''] = key.split('/');
    const [removed, added] = [before, after].map(({ pods }) => pods.get(key)?.ips ?? []);
    if (isVisible(namespace)) yield { kind: 'pods', namespace, added: added ?? [], removed: removed ?? [] };
  }
}

/** All that there is, to a worker that knows nothing. */
export function everything(
  empty: Snapshot,
  now: Snapshot,
  options: FeedOptions,
): Generator<DnsChange, void, undefined> {
  const { services, namespaces, pods } = now;
  const keys = {
    services: new Set(services.keys()),
    namespaces: new Set(namespaces.keys()),
    pods: new Set(pods.keys()),
  };
  return changesOf(empty, now, keys, options);
}

function serviceOf({ services, slices }: Snapshot, key: string, options: FeedOptions) {
  const service = services.get(key);
  return service && dnsServiceOf(service, slices.get(key)?.values() ?? [], options);
}
