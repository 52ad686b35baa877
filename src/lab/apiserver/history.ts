/**
 * What the server remembers of one resource: a ring of the last events. Watches read from it at their own pace, and
 * older states of the list are rebuilt from it, so that its size alone decides what is "too old" (410 Expired).
 */
import type { StoredObject } from './objects.ts';

export type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** One version of an object, with its JSON text made once and shared by every answer that carries it. */
export class Version {
  readonly key: string;
  readonly revision: number;
  readonly object: StoredObject;
  #fields: string | undefined;

  constructor(key: string, revision: number, object: StoredObject) {
    this.key = key;
    this.revision = revision;
    this.object = object;
  }

  /** The JSON text after `kind` and `apiVersion`, without the opening brace: items of lists have no type fields. */
  get fields(): string {
    if (this.#fields === undefined) {
      const { kind: _kind, apiVersion: _apiVersion, ...rest } = this.object;
      this.#fields = JSON.stringify(rest).slice(1);
    }
    return this.#fields;
  }
}

/** All objects of one moment, by resource. */
export interface StoreSnapshot {
  readonly revision: number;
  readonly versions: ReadonlyMap<string, readonly Version[]>;
}

/** A change: `current` is the new state (for DELETED: the last state under the version of the deletion). */
export class StoreEvent {
  readonly type: EventType;
  readonly current: Version;
  readonly previous: Version | undefined;
  #lines: Map<string, Buffer> | undefined = new Map();

  constructor(type: EventType, current: Version, previous: Version | undefined) {
    this.type = type;
    this.current = current;
    this.previous = previous;
  }

  /** What `make` returns; made once per key while the event is among the newest. */
  line(key: string, make: () => Buffer): Buffer {
    const known = this.#lines?.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#lines?.set(key, made);
    return made;
  }

  /** Gives the memory of the lines back. */
  forgetLines(): void {
    this.#lines = undefined;
  }
}

/** How many events keep their encoded lines: enough for watches which lag a little behind. */
const eventsWithLines = 64;

/** A bounded event log. Positions count up for ever; only the last `size` of them can be read. */
export class History {
  readonly #size: number;
  #events: (StoreEvent | undefined)[] = [];
  #first = 0;
  #next = 0;
  #forgotten: number;

  /** `forgotten` is the version before which nothing is known. */
  constructor(size: number, forgotten: number) {
    this.#size = size;
    this.#forgotten = forgotten;
  }

  /** The position that the next event gets. */
  get next(): number {
    return this.#next;
  }

  /** The newest version whose event can no longer be read; a watch may start here, not before. */
  get forgotten(): number {
    return this.#forgotten;
  }

  push(event: StoreEvent): void {
    if (this.#next - this.#first === this.#size) {
      this.#forgotten = this.#events[this.#first % this.#size]?.current.revision ?? this.#forgotten;
      this.#first += 1;
    }
    this.#events[this.#next % this.#size] = event;
    this.#next += 1;
    this.at(this.#next - 1 - eventsWithLines)?.forgetLines();
  }

  /** Undefined when the position is forgotten or not reached. */
  at(position: number): StoreEvent | undefined {
    return position < this.#first || position >= this.#next ? undefined : this.#events[position % this.#size];
  }

  /** The position of the first event after a version; undefined when that can't be known any more. */
  positionAfter(revision: number): number | undefined {
    if (revision < this.#forgotten) return undefined;
    let low = this.#first;
    let high = this.#next;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.at(middle)?.current.revision ?? 0) > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Forgets everything up to a version. */
  clear(revision: number): void {
    this.#events = [];
    this.#first = this.#next;
    this.#forgotten = revision;
  }
  /** Forgets everything, also for those who had read all of it: the contents went back to an older version. */
  restart(revision: number): void {
    this.#next += 1;
    this.clear(revision);
  }
}
