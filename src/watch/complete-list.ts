import { ownText } from '../text/own-text.ts';
import { isRecord } from './fields.ts';
import type { Listed, Resource, Unchanged } from './resource.ts';

interface Identity {
  readonly key: string;
  /** uid and resourceVersion. */
  readonly version: string;
}

/** undefined for an object that doesn't say which it is. */
function identityOf(raw: unknown): Identity | undefined {
  const metadata = isRecord(raw) && isRecord(raw.metadata) ? raw.metadata : {};
  const { name, namespace, uid, resourceVersion } = metadata;
  if (typeof name !== 'string' || typeof uid !== 'string' || typeof resourceVersion !== 'string') return undefined;
  const isInside = typeof namespace === 'string' && namespace !== '';
  return { key: isInside ? `${namespace}/${name}` : name, version: `${uid} ${resourceVersion}` };
}

/** An object that the target holds, in this version. */
interface Held extends Unchanged {
  readonly version: string;
}

/**
 * Which version of each object the target holds, by key: a relist then trims and keeps only what differs, so that no second
 * copy of the cluster lives while it goes on. About 200 bytes an object.
 */
export class HeldVersions {
  readonly #held = new Map<string, Held>();

  /** What the target holds, when it is just this. */
  find({ key, version }: Identity): Held | undefined {
    const held = this.#held.get(key);
    return held?.version === version ? held : undefined;
  }

  keep(held: Held): void {
    this.#held.set(held.key, held);
  }

  /** The target holds this object now. */
  note(raw: unknown): void {
    const identity = identityOf(raw);
    if (identity === undefined) return;
    this.keep({ key: ownText(identity.key), version: ownText(identity.version), isUnchanged: true });
  }

  forget(key: string): void {
    this.#held.delete(key);
  }

  clear(): void {
    this.#held.clear();
  }
}

/** A complete list while it arrives. What the target holds already is only named. */
export class CompleteList<T> {
  readonly #resource: Resource<T>;
  readonly #held: HeldVersions;
  readonly #entries = new Map<string, Listed<T>>();
  #versions = new HeldVersions();
  #unchanged = 0;

  constructor(resource: Resource<T>, held: HeldVersions) {
    this.#resource = resource;
    this.#held = held;
  }

  /** How many objects were not looked into because the target holds them. */
  get unchanged(): number {
    return this.#unchanged;
  }

  /** What the target holds after it has taken the entries. */
  get versions(): HeldVersions {
    return this.#versions;
  }

  /** Each once: a stream keeps its list as long as it lasts, and the target has what was in it. */
  *takeEntries(): Iterable<Listed<T>> {
    yield* this.#entries.values();
    this.#entries.clear();
  }

  /** A new or newer object of the list. */
  add(raw: unknown): void {
    const identity = identityOf(raw);
    const held = identity === undefined ? undefined : this.#held.find(identity);
    if (held !== undefined) {
      this.#unchanged += 1;
      this.#versions.keep(held);
      this.#entries.set(held.key, held);
      return;
    }
    this.#versions.note(raw);
    const trimmed = this.#resource.trim(raw);
    this.#entries.set(trimmed.key ?? `without a name ${this.#entries.size}`, trimmed);
  }

  remove(key: string): void {
    this.#entries.delete(key);
    this.#versions.forget(key);
  }

  /** What came so far doesn't count. */
  restart(): void {
    this.#entries.clear();
    this.#versions = new HeldVersions();
    this.#unchanged = 0;
  }
}
