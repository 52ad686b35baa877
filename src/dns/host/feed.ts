/** What the cluster's objects are to workers of DNS. */
import type { Dirty, Snapshot } from '../../watch/snapshot.ts';
import { Store } from '../../watch/store.ts';
import type { DnsChange } from '../engine.ts';
import { dnsServiceOf } from '../zone/from-objects.ts';

export interface FeedOptions {
  /** Only these have names; empty = all. */
  readonly namespaces: readonly string[];
  readonly endpointPodNames: boolean;
}

type Keys = Pick<Dirty, 'services' | 'namespaces' | 'pods'>;
type Changes = Generator<DnsChange, void, undefined>;

/** Tells a set of workers how the cluster is, and then what is different. */
export class Feed {
  readonly #options: FeedOptions;
  #told: Snapshot = new Store().snapshot;
  /** How many pods have an address, by namespace and address: those on a node's own network share it. */
  readonly #pods = new Map<string, number>();

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  /** All that there is; to be called once, and first. */
  everything(now: Snapshot): Changes {
    const { services, namespaces, pods } = now;
    const keys = { services: services.keys(), namespaces: namespaces.keys(), pods: pods.keys() };
    return this.changes(now, {
      services: new Set(keys.services),
      namespaces: new Set(keys.namespaces),
      pods: new Set(keys.pods),
    });
  }

  /** What is different since the last call; `dirty` says where to look. */
  *changes(now: Snapshot, { namespaces, services, pods }: Keys): Changes {
    const before = this.#told;
    this.#told = now;
    for (const name of namespaces) {
      if (this.#isVisible(name)) yield { kind: 'namespace', name, exists: now.namespaces.has(name) };
    }
    for (const key of services) {
      const [namespace = '', name = ''] = key.split('/');
      if (!this.#isVisible(namespace)) continue;
      const object = now.services.get(key);
      const service = object && dnsServiceOf(object, now.slices.get(key)?.values() ?? [], this.#options);
      yield { kind: 'service', namespace, name, service };
    }
    for (const key of pods) {
      const [namespace = ''] = key.split('/');
      if (this.#isVisible(namespace))
        yield this.#podChange(namespace, before.pods.get(key)?.ips, now.pods.get(key)?.ips);
    }
  }

  #isVisible(namespace: string): boolean {
    const { namespaces } = this.#options;
    return namespaces.length === 0 || namespaces.includes(namespace);
  }

  #podChange(namespace: string, before: readonly string[] = [], after: readonly string[] = []): DnsChange {
    const count = (ip: string, difference: number) => {
      const sum = (this.#pods.get(`${namespace} ${ip}`) ?? 0) + difference;
      if (sum === 0) this.#pods.delete(`${namespace} ${ip}`);
      else this.#pods.set(`${namespace} ${ip}`, sum);
      return sum;
    };
    for (const ip of after) count(ip, 1);
    const removed = before.filter(ip => count(ip, -1) === 0);
    return { kind: 'pods', namespace, added: after, removed };
  }
}
