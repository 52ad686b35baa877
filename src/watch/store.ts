import { isDeepStrictEqual } from 'node:util';
import { Map as ImmutableMap } from 'immutable';
import { type Marks, newMarks, PLAIN, type WritableDirty } from './marks.ts';
import type { EndpointSlice, Kind, ObjectByKind, Problem, ServiceCIDR, SliceEndpoint } from './objects.ts';
import { objectKey } from './objects.ts';
import type { Dirty, Snapshot } from './snapshot.ts';
import type { Trimmed } from './trim-named.ts';

export type DirtyListener = (dirty: Dirty) => void;
/** `problems` is empty when the object has none any more. */
export type ProblemListener = (object: string, problems: readonly Problem[]) => void;

export interface ReplaceOptions {
  readonly problems?: readonly Problem[];
  /** Keys of objects that are in the list as they already are in the store. */
  readonly unchanged?: ReadonlySet<string>;
}

/** How Problem.object begins for what is kept as this kind. */
const PROBLEM_PREFIXES: { readonly [K in Kind]: readonly string[] } = {
  Service: ['Service'],
  EndpointSlice: ['EndpointSlice', 'Endpoints'],
  Node: ['Node'],
  ServiceCIDR: ['ServiceCIDR'],
  Namespace: ['Namespace'],
  Pod: ['Pod'],
};

const NO_SLICES: ImmutableMap<string, EndpointSlice> = ImmutableMap();

/** The key of the Service that a slice belongs to. */
function ownerKey(slice: EndpointSlice): string {
  return objectKey({ namespace: slice.namespace, name: slice.serviceName });
}

/** Whether an endpoint that took connections is gone, or takes none any more. */
function losesEndpoints(before: EndpointSlice, after: EndpointSlice): boolean {
  const isUsed = ({ ready, serving, terminating }: SliceEndpoint) => ready || (serving && terminating);
  const left = new Set(after.endpoints.filter(isUsed).map(({ addresses }) => addresses[0]));
  return before.endpoints.some(endpoint => isUsed(endpoint) && !left.has(endpoint.addresses[0]));
}

/**
 * What the cluster looks like, as far as the sources told: one immutable Snapshot that changes in O(change), and which
 * keys changed. Sources write (upsert, remove, replace, accept), everybody else reads the snapshot.
 *
 * Dirty marks are batched: all changes of one synchronous stretch of code (a complete list, the events of one network
 * packet) reach a listener as one call, in a microtask right after it. What is deep-equal to what is there marks nothing.
 */
export class Store {
  #snapshot: Snapshot = {
    services: ImmutableMap(),
    slices: ImmutableMap(),
    nodes: ImmutableMap(),
    serviceCIDRs: [],
    namespaces: ImmutableMap(),
    pods: ImmutableMap(),
  };
  /** The slices once more by their own key: which Service they belonged to must be known when they move or go. */
  readonly #sliceByKey = new Map<string, EndpointSlice>();
  readonly #serviceCIDRs = new Map<string, ServiceCIDR>();
  readonly #problems = new Map<string, readonly Problem[]>();
  readonly #dirtyListeners = new Set<DirtyListener>();
  readonly #problemListeners = new Set<ProblemListener>();
  readonly #awaited = new Set<Kind>();
  readonly #sync = Promise.withResolvers<void>();
  #isSynced = false;
  readonly #hasListed = new Set<Kind>();
  readonly #listed = new Map<Kind, PromiseWithResolvers<void>>();
  #dirty: WritableDirty | undefined;

  /** The current view; it never changes, a later one replaces it. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** Resolves when every announced kind has had its first complete list. It stays pending while a source cannot list. */
  get synced(): Promise<void> {
    return this.#sync.promise;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** The kinds without a complete list yet; none once `synced` has resolved, even when a later source begins anew. */
  get awaited(): readonly Kind[] {
    return this.#isSynced ? [] : [...this.#awaited];
  }

  /** A source says which kinds it will list; to be called before its first markSynced. */
  announce(kinds: readonly Kind[]): void {
    for (const kind of kinds) this.#awaited.add(kind);
  }

  /** Resolves when the kind has had its first complete list, whether `synced` waits for it or not. */
  listed(kind: Kind): Promise<void> {
    return this.#listing(kind).promise;
  }

  hasListed(kind: Kind): boolean {
    return this.#hasListed.has(kind);
  }

  /** The kind's first complete list is in the snapshot. Later calls change nothing. */
  markSynced(kind: Kind): void {
    this.#hasListed.add(kind);
    this.#listing(kind).resolve();
    if (!this.#awaited.delete(kind) || this.#awaited.size > 0) return;
    this.#isSynced = true;
    this.#sync.resolve();
  }

  /** Adds an object or puts it in the place of the one with its key. */
  upsert<K extends Kind>(kind: K, object: ObjectByKind[K]): void {
    const key = objectKey(object);
    const previous = this.#find(kind, key);
    if (previous !== undefined && isDeepStrictEqual(previous, object)) return;
    const entry = { kind, object } as { [P in Kind]: { kind: P; object: ObjectByKind[P] } }[Kind];
    switch (entry.kind) {
      case 'EndpointSlice':
        this.#replaceSlice(key, entry.object);
        return;
      case 'ServiceCIDR':
        this.#serviceCIDRs.set(key, entry.object);
        this.#collectServiceCIDRs();
        return;
      default:
        this.#setPlain(PLAIN[entry.kind], key, entry.object);
    }
  }

  /** Removes an object and its problems; nothing happens when there is none with this key (`namespace/name`). */
  remove(kind: Kind, key: string): void {
    this.#removeObject(kind, key);
    this.reportProblems(`${kind} ${key}`, []);
  }

  /** A raw object after trimming: what has nothing to serve is removed, the object's problems take the place of its last. */
  accept<K extends Kind>(kind: K, trimmed: Trimmed<ObjectByKind[K]>): void {
    if (trimmed.object !== undefined) this.upsert(kind, trimmed.object);
    if (trimmed.key === undefined) {
      for (const problem of trimmed.problems) this.reportProblems(problem.object, [problem]);
      return;
    }
    if (trimmed.object === undefined) this.#removeObject(kind, trimmed.key);
    this.reportProblems(`${kind} ${trimmed.key}`, trimmed.problems);
  }

  /** A complete list of a kind with all its problems: what isn't in it is gone, what is unchanged marks nothing. */
  replace<K extends Kind>(kind: K, objects: Iterable<ObjectByKind[K]>, rest: ReplaceOptions = {}): void {
    const { problems = [], unchanged = new Set() } = rest;
    const next = new Map<string, ObjectByKind[K]>();
    for (const object of objects) next.set(objectKey(object), object);
    const gone = [...this.#keys(kind)].filter(key => !next.has(key) && !unchanged.has(key));
    for (const key of gone) this.#removeObject(kind, key);
    for (const object of next.values()) this.upsert(kind, object);
    const found = Map.groupBy(problems, problem => problem.object);
    const isSolved = (object: string) => {
      const [prefix = '', key = ''] = object.split(/ (.*)/, 2);
      return PROBLEM_PREFIXES[kind].includes(prefix) && !found.has(object) && !unchanged.has(key);
    };
    for (const object of [...this.#problems.keys()].filter(isSolved)) this.reportProblems(object, []);
    for (const [object, list] of found) this.reportProblems(object, list);
  }

  /** All problems of all objects, as they are now. */
  problems(): readonly Problem[] {
    return [...this.#problems.values()].flat();
  }

  /** States an object's problems; listeners hear of it only when they changed, so that a relist repeats no log line. */
  reportProblems(object: string, problems: readonly Problem[]): void {
    const previous = this.#problems.get(object) ?? [];
    if (isDeepStrictEqual(previous, problems)) return;
    if (problems.length === 0) this.#problems.delete(object);
    else this.#problems.set(object, problems);
    for (const listener of this.#problemListeners) listener(object, problems);
  }

  /** Calls the listener after each batch of changes from now on; what is there already is read from the snapshot. */
  onDirty(listener: DirtyListener): () => void {
    this.#dirtyListeners.add(listener);
    return () => this.#dirtyListeners.delete(listener);
  }

  /** Calls the listener at once, and once per change of an object's problems. */
  onProblem(listener: ProblemListener): () => void {
    this.#problemListeners.add(listener);
    return () => this.#problemListeners.delete(listener);
  }

  #listing(kind: Kind): PromiseWithResolvers<void> {
    const listing = this.#listed.get(kind) ?? Promise.withResolvers<void>();
    this.#listed.set(kind, listing);
    return listing;
  }

  #removeObject(kind: Kind, key: string): void {
    if (this.#find(kind, key) === undefined) return;
    if (kind === 'EndpointSlice') this.#removeSlice(key);
    else if (kind === 'ServiceCIDR') {
      this.#serviceCIDRs.delete(key);
      this.#collectServiceCIDRs();
    } else {
      const where = PLAIN[kind];
      this.#snapshot = { ...this.#snapshot, [where]: this.#snapshot[where].delete(key) };
      this.#markDirty(where, key);
    }
  }

  #setPlain(where: Marks, key: string, object: ObjectByKind[keyof typeof PLAIN]): void {
    const before: ImmutableMap<string, ObjectByKind[keyof typeof PLAIN]> = this.#snapshot[where];
    this.#snapshot = { ...this.#snapshot, [where]: before.set(key, object) };
    this.#markDirty(where, key);
  }

  #find(kind: Kind, key: string): ObjectByKind[Kind] | undefined {
    return this.#objects(kind).get(key);
  }

  #keys(kind: Kind): Iterable<string> {
    return this.#objects(kind).keys();
  }

  #objects(kind: Kind): { get(key: string): ObjectByKind[Kind] | undefined; keys(): Iterable<string> } {
    if (kind === 'EndpointSlice') return this.#sliceByKey;
    if (kind === 'ServiceCIDR') return this.#serviceCIDRs;
    return this.#snapshot[PLAIN[kind]];
  }

  /** A handful at most, so each change makes the list anew. */
  #collectServiceCIDRs(): void {
    const all = new Set([...this.#serviceCIDRs.values()].flatMap(({ cidrs }) => cidrs));
    const serviceCIDRs = [...all].sort();
    if (isDeepStrictEqual(serviceCIDRs, this.#snapshot.serviceCIDRs)) return;
    this.#snapshot = { ...this.#snapshot, serviceCIDRs };
    this.#dirtyNow().hasServiceCIDRs = true;
  }

  #replaceSlice(key: string, slice: EndpointSlice): void {
    const previous = this.#sliceByKey.get(key);
    this.#removeSlice(key, ownerKey(slice));
    const owner = ownerKey(slice);
    const { slices } = this.#snapshot;
    this.#snapshot = {
      ...this.#snapshot,
      slices: slices.set(owner, slices.get(owner, NO_SLICES).set(slice.name, slice)),
    };
    this.#sliceByKey.set(key, slice);
    this.#markDirty('services', owner, previous !== undefined && losesEndpoints(previous, slice));
  }

  /** Takes a slice from the Service it belonged to, unless that is `exceptFrom`, where it will be replaced in place. */
  #removeSlice(key: string, exceptFrom?: string): void {
    const slice = this.#sliceByKey.get(key);
    if (slice === undefined || ownerKey(slice) === exceptFrom) return;
    const owner = ownerKey(slice);
    const { slices } = this.#snapshot;
    const rest = slices.get(owner, NO_SLICES).delete(slice.name);
    this.#snapshot = { ...this.#snapshot, slices: rest.isEmpty() ? slices.delete(owner) : slices.set(owner, rest) };
    this.#sliceByKey.delete(key);
    this.#markDirty('services', owner, true);
  }

  #markDirty(what: Marks, key: string, isRemoval = false): void {
    const dirty = this.#dirtyNow();
    dirty[what].add(key);
    dirty.hasRemovals ||= isRemoval;
  }

  /** The marks of the batch under way, which begins with the first. */
  #dirtyNow(): WritableDirty {
    if (this.#dirty === undefined) {
      this.#dirty = newMarks();
      queueMicrotask(() => this.#flush());
    }
    return this.#dirty;
  }

  #flush(): void {
    const dirty = this.#dirty;
    this.#dirty = undefined;
    if (dirty !== undefined) for (const listener of this.#dirtyListeners) listener(dirty);
  }
}
