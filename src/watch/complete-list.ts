import { ownText } from '../text/own-text.ts';
import { isRecord } from './fields.ts';
import type { Listed, Resource } from './resource.ts';

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

/**
 * Which version of each object the target holds, by key: a relist then trims and keeps only what differs, so that no second
 * copy of the cluster lives while it goes on. About 150 bytes an object.
 */
export class HeldVersions {
  readonly #versions = new Map<string, string>();

  holds(identity: Identity): boolean {
    return this.#versions.get(identity.key) === identity.version;
  }

  /** The target holds this object now. */
  note(raw: unknown): void {
    const identity = identityOf(raw);
    if (identity !== undefined) this.#versions.set(ownText(identity.key), ownText(identity.version));
  }

  forget(key: string): void {
    this.#versions.delete(key);
  }

  clear(): void {
    this.#versions.clear();
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

  get entries(): Iterable<Listed<T>> {
    return this.#entries.values();
  }

  /** A new or newer object of the list. */
  add(raw: unknown): void {
    const identity = identityOf(raw);
    this.#versions.note(raw);
    if (identity !== undefined && this.#held.holds(identity)) {
      this.#unchanged += 1;
      const key = ownText(identity.key);
      this.#entries.set(key, { key, isUnchanged: true });
      return;
    }
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
