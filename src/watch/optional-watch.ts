import { ApiError } from './api-error.ts';
import { pause } from './clock.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import type { ReflectorStats } from './reflector-stats.ts';

/** How long a server without the collection is left alone: it may be upgraded, or its roles may change. */
const RETRY_MS = 10 * 60_000;
/** A part of RETRY_MS, so that nodes don't ask in step. */
const RETRY_SPREAD = 0.2;

/** The server doesn't have the collection, or doesn't let us see it. */
function isAbsent(error: unknown): error is ApiError {
  return error instanceof ApiError && error.kind === 'status' && (error.status === 404 || error.status === 403);
}

/** A promise for the end that the signal tells. */
function endOf(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/**
 * Keeps a collection in a target that not every server has. Where it is missing (404) or forbidden (403) the target gets an empty
 * list, once, the log a line, once, and the server is asked again every ten minutes: nobody else hears of a failure. What was listed
 * before stays when the server has it no longer: one 404 may be a proxy's. Every other failure is as of any Reflector.
 */
export class OptionalWatch<T> implements AsyncDisposable {
  readonly #options: ReflectorOptions<T>;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #running: Promise<void> | undefined;
  #reflector: Reflector<T> | undefined;
  #wasListed = false;
  /** Why the log says that the collection is absent; '' while it isn't. */
  #told = '';

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  /** undefined while the server doesn't have the collection. */
  get stats(): ReflectorStats | undefined {
    return this.#reflector?.stats;
  }

  start(): void {
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, target } = this.#options;
    while (!this.#signal.aborted) {
      const error = await this.#follow();
      if (error === undefined || this.#signal.aborted) return;
      if (!this.#wasListed) target.replace([]);
      this.#tell(error);
      await pause(clock, Math.round(RETRY_MS * (1 + RETRY_SPREAD * random())), this.#signal);
    }
  }

  /** Lists and watches until the server says that it has no such collection; undefined when we are stopped before. */
  async #follow(): Promise<ApiError | undefined> {
    const { resource, target, contact } = this.#options;
    const end = new AbortController();
    let absence: ApiError | undefined;
    const signal = AbortSignal.any([this.#signal, end.signal]);
    const reflector = new Reflector<T>({
      ...this.#options,
      target: {
        accept: trimmed => target.accept(trimmed),
        remove: key => target.remove(key),
        replace: list => {
          this.#wasListed = true;
          this.#told = '';
          target.replace(list);
        },
      },
      contact: {
        heard: kind => contact.heard(kind),
        failed: (kind, failure) => {
          if (!isAbsent(failure.err)) {
            contact.failed(kind, failure);
            return;
          }
          absence = failure.err;
          end.abort();
        },
      },
      signal,
    });
    this.#reflector = reflector;
    reflector.start();
    await endOf(signal);
    await reflector[Symbol.asyncDispose]();
    this.#reflector = undefined;
    // It may have failed in other ways before: the server answers, so that is over.
    contact.heard(resource.kind);
    return absence;
  }

  #tell({ status, message }: ApiError): void {
    const { log, resource } = this.#options;
    const why = status === 403 ? 'we may not list it' : 'the server has none';
    if (why === this.#told) return;
    this.#told = why;
    const known = this.#wasListed ? 'what is known stays' : 'taken for empty';
    const line = `${resource.kind}: ${why}; ${known}, asked again every ${RETRY_MS / 60_000} minutes (${message})`;
    log.info({ kind: resource.kind, status }, line);
  }
}
