/** The objects of one resource: current versions by key, in the order of lists, with their history and listeners. */
import { History, StoreEvent, type Version } from './history.ts';

export type EventListener = (event: StoreEvent) => void;

/** First index whose key is not less than `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] ?? '') < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Keys of one namespace, as a half-open range; the whole list for ''. */
function rangeOf(keys: readonly string[], namespace: string): readonly [number, number] {
  if (namespace === '') return [0, keys.length];
  // '0' is the character after '/'.
  return [lowerBound(keys, `${namespace}/`), lowerBound(keys, `${namespace}0`)];
}

export class Collection {
  readonly history: History;
  readonly #byKey = new Map<string, Version>();
  readonly #keys: string[] = [];
  readonly #listeners = new Set<EventListener>();

  constructor(historySize: number, revision: number) {
    this.history = new History(historySize, revision);
  }

  get(key: string): Version | undefined {
    return this.#byKey.get(key);
  }

  /** Current versions in key order, of one namespace or ('') of all. */
  versions(namespace: string): Version[] {
    const [from, to] = rangeOf(this.#keys, namespace);
    const found: Version[] = [];
    for (let index = from; index < to; index += 1) {
      const version = this.#byKey.get(this.#keys[index] ?? '');
      if (version !== undefined) found.push(version);
    }
    return found;
  }

  /** The versions as they were at an older revision; undefined when the history doesn't reach back that far. */
  versionsAt(revision: number, namespace: string): Version[] | undefined {
    const start = this.history.positionAfter(revision);
    if (start === undefined) return undefined;
    if (start === this.history.next) return this.versions(namespace);
    const before = new Map<string, Version | undefined>();
    for (let position = start; position < this.history.next; position += 1) {
      const event = this.history.at(position);
      if (event !== undefined && !before.has(event.current.key)) before.set(event.current.key, event.previous);
    }
    const keys = [...new Set([...this.#keys, ...before.keys()])].sort();
    const [from, to] = rangeOf(keys, namespace);
    return keys
      .slice(from, to)
      .map(key => (before.has(key) ? before.get(key) : this.#byKey.get(key)))
      .filter(version => version !== undefined);
  }

  /** Makes a version the current one and tells the listeners. */
  put(version: Version): void {
    const previous = this.#byKey.get(version.key);
    if (previous === undefined) this.#keys.splice(lowerBound(this.#keys, version.key), 0, version.key);
    this.#byKey.set(version.key, version);
    this.#emit(new StoreEvent(previous === undefined ? 'ADDED' : 'MODIFIED', version, previous));
  }

  /** Takes an object out; `last` is its last state under the revision of the deletion. */
  remove(last: Version): void {
    const previous = this.#byKey.get(last.key);
    if (previous === undefined) return;
    this.#byKey.delete(last.key);
    this.#keys.splice(lowerBound(this.#keys, last.key), 1);
    this.#emit(new StoreEvent('DELETED', last, previous));
  }

  /** Puts older contents in the place of these and starts the history anew; listeners are told what differs. */
  restore(versions: readonly Version[], revision: number): void {
    const before = new Map(this.#byKey);
    this.#byKey.clear();
    for (const version of versions) this.#byKey.set(version.key, version);
    this.#keys.splice(0, this.#keys.length, ...versions.map(version => version.key));
    this.history.restart(revision);
    for (const [key, last] of before) if (!this.#byKey.has(key)) this.#tell(new StoreEvent('DELETED', last, last));
    for (const version of versions) {
      const previous = before.get(version.key);
      const type = previous === undefined ? 'ADDED' : 'MODIFIED';
      if (previous !== version) this.#tell(new StoreEvent(type, version, previous));
    }
  }

  /** Calls the listener after each change, synchronously; returns the function that ends it. */
  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #emit(event: StoreEvent): void {
    this.history.push(event);
    this.#tell(event);
  }

  #tell(event: StoreEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
