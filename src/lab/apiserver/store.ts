/**
 * The objects of the cluster, in memory. Every write goes through here, from HTTP and from controllers in the process
 * alike; each is one synchronous step, so that no two can interleave. One counter numbers all versions, as in etcd.
 */
import { randomUUID } from 'node:crypto';
import type { IPFamily } from './addresses.ts';
import { Collection, type EventListener } from './collection.ts';
import { type StoreSnapshot, Version } from './history.ts';
import type { ServiceObject } from './kinds.ts';
import { checkMeta, formatTime, randomSuffix, typed } from './metadata.ts';
import { cloneJson, isSameJson, type KubeObject, type KubeObjectInput, keyOf, type StoredObject } from './objects.ts';
import type { Resource } from './resource.ts';
import { type ResourceId, resourceOf, resources } from './resources.ts';
import { ServiceAddresses } from './service-addresses.ts';
import { alreadyExists, badRequest, forbidden, invalid, notFound } from './status.ts';
import { type Strategy, strategyOf } from './strategy.ts';
import { checkPreconditions, isFinished, withSubresource } from './update-rules.ts';

export interface StoreOptions {
  readonly serviceCIDRs?: readonly string[];
  readonly nodePortRange?: readonly [number, number];
  readonly now?: () => Date;
  /** Events kept per resource; what is older answers 410. */
  readonly watchCacheSize?: number;
  /** False stores impossible objects too (addresses and ports out of range), for tests of readers. */
  readonly validate?: boolean;
  /** The first version; a server started with a higher one than before plays a restart. */
  readonly firstResourceVersion?: number;
}

export interface WriteOptions {
  /** Checks and answers, stores nothing. */
  readonly dryRun?: boolean;
  /** `status` changes only the status and the metadata. */
  readonly subresource?: 'status' | undefined;
  /** A create keeps the status given with it; a real server drops it for most kinds. */
  readonly keepStatus?: boolean;
}

export interface DeleteOptions {
  readonly dryRun?: boolean;
  /** Above 0, a Pod only gets its deletionTimestamp; a second delete with 0 removes it. Nobody else counts down. */
  readonly gracePeriodSeconds?: number | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface Deletion {
  readonly last: Version;
  /** False while a grace period or finalizers hold the object back. */
  readonly isRemoved: boolean;
}

const permanentNamespaces: readonly string[] = ['default', 'kube-system', 'kube-public'];

export class Store {
  readonly #collections = new Map<string, Collection>();
  readonly #addresses: ServiceAddresses;
  readonly #now: () => Date;
  readonly #isValidating: boolean;
  #revision: number;

  /** Starts with the namespaces of a new cluster. */
  constructor(options: StoreOptions = {}) {
    const { serviceCIDRs = ['10.96.0.0/12'], nodePortRange = [30_000, 32_767] } = options;
    this.#addresses = new ServiceAddresses(serviceCIDRs, nodePortRange);
    this.#now = options.now ?? (() => new Date());
    this.#isValidating = options.validate ?? true;
    this.#revision = options.firstResourceVersion ?? 1;
    for (const { id } of resources)
      this.#collections.set(id, new Collection(options.watchCacheSize ?? 4096, this.#revision));
    for (const name of [...permanentNamespaces, 'kube-node-lease'])
      this.create('namespaces', '', { metadata: { name } });
  }

  /** The version of the newest write. */
  get revision(): number {
    return this.#revision;
  }

  /** IP families of Services, the default one first. */
  get families(): readonly IPFamily[] {
    return this.#addresses.families;
  }

  /** What cluster IPs are given out of. */
  get serviceCIDRs(): readonly string[] {
    return this.#addresses.ranges;
  }

  /** The address that belongs to the `kubernetes` Service. */
  get firstServiceAddress(): string {
    return this.#addresses.first;
  }

  now(): Date {
    return this.#now();
  }

  collection(id: ResourceId | Resource['id']): Collection {
    const collection = this.#collections.get(resourceOf(id).storedAs?.id ?? id);
    if (collection === undefined) throw new Error(`no resource ${id} in the store`);
    return collection;
  }

  /** The object, undefined when there is none. `namespace` is '' for cluster-scoped ones. */
  get(id: ResourceId, namespace: string, name: string): StoredObject | undefined {
    return this.collection(id).get(keyOf(namespace, name))?.object;
  }

  /** The objects of one namespace or ('') of all, in the order of lists. */
  list(id: ResourceId, namespace = ''): StoredObject[] {
    return this.collection(id)
      .versions(namespace)
      .map(version => version.object);
  }

  /** Calls the listener after every change of a resource, synchronously; returns the function that ends it. */
  subscribe(id: ResourceId, listener: EventListener): () => void {
    return this.collection(id).subscribe(listener);
  }

  /** Forgets the history of all resources: older watches and page tokens answer 410, as after a compaction. */
  forgetHistory(): void {
    for (const collection of this.#collections.values()) collection.history.clear(this.#revision);
  }

  snapshot(): StoreSnapshot {
    const versions = [...this.#collections].map(([id, collection]) => [id, collection.versions('')] as const);
    return { revision: this.#revision, versions: new Map(versions) };
  }

  /** Goes back to a snapshot, versions included: later writes use the same version numbers once more. */
  restore({ revision, versions }: StoreSnapshot): void {
    this.#revision = revision;
    for (const service of this.list('services')) this.#addresses.release(service as ServiceObject);
    for (const { object } of versions.get('services') ?? []) {
      this.#addresses.allocate(cloneJson(object) as ServiceObject, undefined, { isLenient: true });
    }
    for (const [id, collection] of this.#collections) collection.restore(versions.get(id) ?? [], revision);
  }

  /** Stores a new object. Throws StatusError: 404 without its namespace, 409 when the name is taken, 422, 400. */
  create(id: ResourceId, namespace: string, input: KubeObjectInput, options: WriteOptions = {}): Version {
    const resource = resourceOf(id);
    const object = typed(resource, namespace, cloneJson(input));
    if (resource.namespaced && this.get('namespaces', '', namespace) === undefined) {
      throw notFound(resourceOf('namespaces'), namespace);
    }
    const { metadata } = object;
    if ((metadata.name ?? '') === '' && (metadata.generateName ?? '') !== '') {
      metadata.name = `${metadata.generateName}${randomSuffix()}`;
    }
    metadata.uid = randomUUID();
    metadata.creationTimestamp = formatTime(this.#now());
    metadata.generation = undefined;
    metadata.deletionTimestamp = undefined;
    metadata.deletionGracePeriodSeconds = undefined;
    this.#complete(resource, object, undefined, options);
    const name = metadata.name ?? '';
    if (this.get(id, namespace, name) !== undefined) throw alreadyExists(resource, name);
    return this.#commit(resource, object, undefined, options);
  }

  /**
   * Replaces an object. An update without a difference is no write. Throws StatusError: 404, 409 when the given
   * resourceVersion or uid is not the current one, 422, 400.
   */
  update(id: ResourceId, namespace: string, name: string, input: KubeObjectInput, options: WriteOptions = {}): Version {
    const resource = resourceOf(id);
    const current = this.collection(id).get(keyOf(namespace, name));
    if (current === undefined) {
      if (resource.createsOnUpdate === true) return this.create(id, namespace, input, options);
      throw notFound(resource, name);
    }
    const object = typed(resource, namespace, cloneJson(input));
    this.#checkIdentity(resource, name, object, current.object);
    const { metadata } = object;
    const before = current.object.metadata;
    metadata.uid = before.uid;
    metadata.creationTimestamp = before.creationTimestamp;
    metadata.generation = before.generation;
    metadata.deletionTimestamp = before.deletionTimestamp;
    metadata.deletionGracePeriodSeconds = before.deletionGracePeriodSeconds;
    metadata.resourceVersion = before.resourceVersion;
    const merged = withSubresource(resource, object, current.object, options.subresource);
    this.#complete(resource, merged, current.object, options);
    if (isSameJson(merged, current.object)) return current;
    const version = this.#commit(resource, merged, current.object, options);
    if (options.dryRun !== true && isFinished(merged)) this.#remove(resource, merged);
    return version;
  }

  /** Reads, changes and replaces in one step. `change` gets a copy of the object and returns the new one. */
  patch(
    id: ResourceId,
    namespace: string,
    name: string,
    change: (current: KubeObject) => KubeObjectInput,
    options: WriteOptions = {},
  ): Version {
    const current = this.get(id, namespace, name);
    if (current === undefined) throw notFound(resourceOf(id), name);
    return this.update(id, namespace, name, change(cloneJson<KubeObject>(current)), options);
  }

  /** Removes an object, or marks it when a grace period or finalizers hold it back. Throws 404, 403, 409. */
  delete(id: ResourceId, namespace: string, name: string, options: DeleteOptions = {}): Deletion {
    const resource = resourceOf(id);
    const current = this.collection(id).get(keyOf(namespace, name));
    if (current === undefined) throw notFound(resource, name);
    checkPreconditions(resource, name, current.object, options);
    if (id === 'namespaces' && permanentNamespaces.includes(name)) {
      throw forbidden(resource, name, 'this namespace may not be deleted');
    }
    if (options.dryRun === true) return { last: current, isRemoved: true };
    const graceSeconds = id === 'pods' ? (options.gracePeriodSeconds ?? 0) : 0;
    const isHeld = graceSeconds > 0 || (current.object.metadata.finalizers?.length ?? 0) > 0;
    if (isHeld) return { last: this.#markDeleted(resource, current, graceSeconds), isRemoved: false };
    if (id === 'namespaces') this.#emptyNamespace(name);
    return { last: this.#remove(resource, current.object), isRemoved: true };
  }

  #checkIdentity(resource: Resource, name: string, object: KubeObject, current: StoredObject): void {
    const { metadata } = object;
    metadata.name ??= name;
    if (metadata.name !== name) {
      throw badRequest(`the name of the object (${metadata.name}) does not match the name on the URL (${name})`);
    }
    checkPreconditions(resource, name, current, {
      uid: metadata.uid === '' ? undefined : metadata.uid,
      resourceVersion: metadata.resourceVersion === '' ? undefined : metadata.resourceVersion,
    });
  }

  #complete(resource: Resource, object: KubeObject, old: StoredObject | undefined, options: WriteOptions): void {
    const strategy: Strategy = strategyOf(resource.id);
    const keepStatus = options.keepStatus === true || resource.keepsStatusOnCreate === true;
    const context = { families: this.families, keepStatus };
    strategy.setDefaults?.(object, old, context);
    if (!this.#isValidating) return;
    const causes = [...checkMeta(resource, object), ...(strategy.check?.(object, old, context) ?? [])];
    if (causes.length > 0) throw invalid(resource.group, resource.kind, object.metadata.name ?? '', causes);
  }

  #commit(resource: Resource, object: KubeObject, old: StoredObject | undefined, options: WriteOptions): Version {
    if (resource.id === 'services') this.#allocate(object as ServiceObject, old as ServiceObject | undefined, options);
    if (options.dryRun === true) return new Version(this.#keyOf(resource, object), this.#revision, object);
    return this.#put(resource, object);
  }

  #allocate(service: ServiceObject, old: ServiceObject | undefined, options: WriteOptions): void {
    const undo = this.#addresses.allocate(service, old, { isLenient: !this.#isValidating });
    if (options.dryRun === true) undo();
    else if (old !== undefined) this.#addresses.release(old, service);
  }

  #markDeleted(resource: Resource, current: Version, graceSeconds: number): Version {
    const { metadata } = current.object;
    if (metadata.deletionTimestamp !== undefined && metadata.deletionGracePeriodSeconds === graceSeconds)
      return current;
    const due = new Date(this.#now().getTime() + graceSeconds * 1000);
    const marked = {
      ...current.object,
      metadata: { ...metadata, deletionTimestamp: formatTime(due), deletionGracePeriodSeconds: graceSeconds },
    };
    return this.#put(resource, marked);
  }

  /** What the namespace controller does: everything inside goes first. */
  #emptyNamespace(namespace: string): void {
    for (const resource of resources) {
      if (!resource.namespaced || 'storedAs' in resource) continue;
      for (const version of this.collection(resource.id).versions(namespace)) this.#remove(resource, version.object);
    }
  }

  #keyOf(resource: Resource, object: StoredObject): string {
    return keyOf(resource.namespaced ? object.metadata.namespace : '', object.metadata.name ?? '');
  }

  #put(resource: Resource, object: KubeObject): Version {
    const version = this.#numbered(resource, object);
    this.collection(resource.id).put(version);
    return version;
  }

  #remove(resource: Resource, object: StoredObject): Version {
    if (resource.id === 'services') this.#addresses.release(object as ServiceObject);
    const last = this.#numbered(resource, object);
    this.collection(resource.id).remove(last);
    return last;
  }

  #numbered(resource: Resource, object: StoredObject): Version {
    this.#revision += 1;
    const metadata = { ...object.metadata, resourceVersion: String(this.#revision) };
    return new Version(this.#keyOf(resource, object), this.#revision, { ...object, metadata });
  }
}
