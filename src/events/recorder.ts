import { ApiError } from '../watch/api-error.ts';
import { type Clock, pause } from '../watch/clock.ts';
import type { ApiChange, SendChange } from '../watch/transport.ts';
import {
  eventBody,
  eventName,
  eventNamespace,
  type Happening,
  happeningKey,
  type Reporter,
  seriesBody,
} from './event.ts';

export interface EventRecorderOptions {
  readonly by: Reporter;
  /** Asked at each Event; undefined where there is no API server, only manifests: then nothing is posted. */
  readonly send: () => SendChange | undefined;
  readonly clock: Clock;
  readonly log: { warn(fields: object, message: string): void; debug(fields: object, message: string): void };
}

/** So many different things may wait for the API server, or be remembered as having happened; what is more is left out. */
const REMEMBERED = 500;
/** At most so many requests at once, and then one in each period: an Event is never worth a storm. */
const BURST = 25;
const REFILL_MS = 10_000;
/** What happens again is counted, and the count is sent at most so often. */
const SERIES_MS = 60_000;
/** Without a repetition for so long, the next one is an Event of its own (as in client-go). */
const FORGET_MS = 6 * 60_000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;

interface Entry {
  readonly happening: Happening;
  readonly firstMs: number;
  readonly name: string;
  count: number;
  lastMs: number;
  /** What the server knows; 0 = nothing yet. */
  sentCount: number;
  /** Not before this. */
  dueMs: number;
}

/**
 * Posts Events to the API server: the same thing again raises a count, a burst is thinned out, and whatever the server says, nobody
 * waits for it and nothing fails. Who records an Event also writes a log line, which is all there is without an API server.
 */
export class EventRecorder implements AsyncDisposable {
  readonly #options: EventRecorderOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #stop = new AbortController();
  #work: Promise<void> | undefined;
  #wake = new AbortController();
  #sequence = 0;
  #tokens = BURST;
  #refilledMs: number;
  #left = 0;
  #retryMs = FIRST_RETRY_MS;
  /** Of what kind the last failure was; '' when there was none. */
  #refusal = '';

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#refilledMs = options.clock.now();
  }

  /** Something happened. Returns at once. */
  record(happening: Happening): void {
    const { clock, send } = this.#options;
    if (this.#stop.signal.aborted || send() === undefined) return;
    const now = clock.now();
    const key = happeningKey(happening);
    const known = this.#entries.get(key);
    if (known !== undefined && now - known.lastMs < FORGET_MS) {
      known.count += 1;
      known.lastMs = now;
    } else if (this.#hasRoom(now)) {
      this.#sequence += 1;
      const name = eventName(happening, now, this.#sequence);
      this.#entries.set(key, { happening, firstMs: now, name, count: 1, lastMs: now, sentCount: 0, dueMs: now });
    } else {
      this.#left += 1;
      return;
    }
    this.#wake.abort();
    this.#work ??= this.#run();
  }

  /** Resolves when the server knows everything, or won't have it. */
  async idle(): Promise<void> {
    while (this.#work !== undefined) await this.#work;
  }

  /** Gives up what waits. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }

  /** Whether one more can be remembered, if need be in place of those that are told and long over. */
  #hasRoom(now: number): boolean {
    if (this.#entries.size < REMEMBERED) return true;
    for (const [key, entry] of this.#entries) {
      if (entry.sentCount === entry.count && now - entry.lastMs >= FORGET_MS) this.#entries.delete(key);
    }
    return this.#entries.size < REMEMBERED;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let next = this.#next(); next !== undefined && !signal.aborted; next = this.#next()) {
      const { clock } = this.#options;
      const waitMs = Math.max(next.dueMs, this.#tokenAtMs()) - clock.now();
      if (waitMs > 0) {
        this.#wake = new AbortController();
        await pause(clock, waitMs, AbortSignal.any([signal, this.#wake.signal]));
        continue;
      }
      this.#tokens -= 1;
      await this.#tell(next);
    }
    this.#work = undefined;
    if (this.#left === 0) return;
    this.#options.log.warn({ left: this.#left }, `${this.#left} Events were left out: there were too many`);
    this.#left = 0;
  }

  /** What is due first, of all that the server doesn't know yet. */
  #next(): Entry | undefined {
    let first: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.sentCount < entry.count && (first === undefined || entry.dueMs < first.dueMs)) first = entry;
    }
    return first;
  }

  /** When the next request may be made. */
  #tokenAtMs(): number {
    const now = this.#options.clock.now();
    const refills = Math.floor((now - this.#refilledMs) / REFILL_MS);
    this.#tokens = Math.min(BURST, this.#tokens + refills);
    this.#refilledMs += refills * REFILL_MS;
    return this.#tokens > 0 ? now : this.#refilledMs + REFILL_MS;
  }

  async #tell(entry: Entry): Promise<void> {
    const { send, clock, log } = this.#options;
    const { count } = entry;
    try {
      await send()?.(this.#changeOf(entry), this.#stop.signal);
      // A new Event is 1; a count of more is told in a series.
      entry.sentCount = entry.sentCount === 0 ? 1 : count;
      entry.dueMs = clock.now() + SERIES_MS;
      this.#retryMs = FIRST_RETRY_MS;
      this.#refusal = '';
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const refusal = error instanceof ApiError ? `${error.kind} ${error.status}` : String(error);
      const said = error instanceof Error ? error.message : String(error);
      if (refusal === this.#refusal) log.debug({ err: error }, 'an Event could not be posted');
      else log.warn({ err: error }, `Events cannot be posted: ${said}; everything else goes on`);
      this.#refusal = refusal;
      this.#settleFailure(entry, error);
    }
  }

  /** What may go better later is tried again; what the server won't have is done with. */
  #settleFailure(entry: Entry, error: unknown): void {
    const status = error instanceof ApiError && error.kind === 'status' ? error.status : 0;
    const isGone = status === 404 && entry.sentCount > 0;
    const isFinal = status >= 400 && status < 500 && status !== 429 && status !== 401;
    if (isGone) this.#entries.delete(happeningKey(entry.happening));
    else if (isFinal) entry.sentCount = entry.count;
    if (isFinal) return;
    const waitMs = Math.max(this.#retryMs, error instanceof ApiError ? error.retryAfterMs : 0);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    // It is the server that is away: none of the others would fare better.
    const dueMs = this.#options.clock.now() + waitMs;
    for (const other of this.#entries.values()) other.dueMs = Math.max(other.dueMs, dueMs);
  }

  #changeOf(entry: Entry): ApiChange {
    const { happening, name, firstMs, count, lastMs, sentCount } = entry;
    const path = `/apis/events.k8s.io/v1/namespaces/${eventNamespace(happening)}/events`;
    if (sentCount === 0) {
      const body = JSON.stringify(eventBody(happening, name, { by: this.#options.by, firstMs }));
      return { method: 'POST', path, contentType: 'application/json', body };
    }
    const body = JSON.stringify(seriesBody({ count, lastMs }));
    return { method: 'PATCH', path: `${path}/${name}`, contentType: 'application/merge-patch+json', body };
  }
}
