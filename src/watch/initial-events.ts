import { ApiError } from './api-error.ts';
import { type Clock, Watchdog } from './clock.ts';
import type { CompleteList } from './complete-list.ts';
import type { WatchEvent } from './list-watch.ts';
import type { Resource } from './resource.ts';

/** A server that ignores sendInitialEvents is noticed by its silence, or by events without the bookmark that ends them. */
const INITIAL_SILENCE_MS = 10_000;
const INITIAL_EVENTS_MS = 60_000;

/** The key of a deleted object. Throws an ApiError when the object has none. */
export function nameOf(resource: Resource<unknown>, event: WatchEvent): string {
  const { key } = resource.trim(event.object);
  if (key === undefined) throw new ApiError('protocol', `${event.type} of an object without a name`);
  return key;
}

/** What a WatchList brings before the bookmark that ends it; gives up on a server that doesn't send that. */
export class InitialEvents<T> implements Disposable {
  readonly #resource: Resource<T>;
  readonly #list: CompleteList<T>;
  readonly #clock: Clock;
  readonly #giveUp = new AbortController();
  #silence: Watchdog | undefined;
  #cancel: (() => void) | undefined;
  #isComplete = false;

  constructor(resource: Resource<T>, list: CompleteList<T>, clock: Clock) {
    this.#resource = resource;
    this.#list = list;
    this.#clock = clock;
  }

  /** Aborted when the server ignores what it was asked for. */
  get signal(): AbortSignal {
    return this.#giveUp.signal;
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  begin(): void {
    const giveUp = () => this.#giveUp.abort();
    this.#silence = new Watchdog(this.#clock, INITIAL_SILENCE_MS, giveUp);
    this.#cancel = this.#clock.after(INITIAL_EVENTS_MS, giveUp);
  }

  /** Whether this was the last one. */
  add(event: WatchEvent): boolean {
    this.#silence?.touch();
    if (event.isInitialEnd) {
      this.#isComplete = true;
      this[Symbol.dispose]();
    } else if (event.type === 'DELETED') this.#list.remove(nameOf(this.#resource, event));
    else if (event.type !== 'BOOKMARK') this.#list.add(event.object);
    return this.#isComplete;
  }

  [Symbol.dispose](): void {
    this.#silence?.[Symbol.dispose]();
    this.#cancel?.();
  }
}
