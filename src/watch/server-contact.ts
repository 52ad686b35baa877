import type { Clock } from './clock.ts';
import type { Log } from './log.ts';

/** Lines about one outage come at its begin and then at these ages, the last again and again. */
const REMINDERS_MS = [60_000, 5 * 60_000, 15 * 60_000, 60 * 60_000];
/** Failures so soon after an outage continue it: a server that flaps is one outage. */
const CALM_MS = 60_000;
/** Messages may hold numbers that change each time. */
const MOST_COMPLAINTS = 10;

export interface ContactFailure {
  readonly message: string;
  readonly err?: unknown;
  readonly delayMs: number;
  /** A fault of our own program, not the server's. */
  readonly isOurs?: boolean;
}

/** Who hears of what fails and what works. */
export type Contact = Pick<ServerContact, 'failed' | 'heard'>;

export interface ServerContactOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** How many collections are asked for: when all fail, it is the server that is away. */
  readonly collections: number;
}

function durationText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/**
 * What the whole process knows of the API server's absence, told once: several watches fail at the same time, again and
 * again, and would fill the log with one and the same line. Each new kind of complaint is told once an outage, too.
 */
export class ServerContact {
  readonly #options: ServerContactOptions;
  readonly #failing = new Map<string, ContactFailure>();
  readonly #told = new Set<string>();
  #sinceMs = 0;
  #endedMs = Number.NEGATIVE_INFINITY;
  #attempts = 0;
  #reminders = 0;
  #isToldAway = false;

  constructor(options: ServerContactOptions) {
    this.#options = options;
  }

  /** Since when something doesn't work, in the clock's milliseconds; 0 when all works. */
  get failingSinceMs(): number {
    return this.#failing.size === 0 ? 0 : this.#sinceMs;
  }

  /** A request for this kind failed. */
  failed(kind: string, failure: ContactFailure): void {
    const now = this.#options.clock.now();
    if (this.#failing.size === 0 && now - this.#endedMs >= CALM_MS) this.#begin(now);
    this.#failing.set(kind, failure);
    this.#attempts += 1;
    const { message } = failure;
    if (!this.#told.has(message) && this.#told.size < MOST_COMPLAINTS) this.#tellFirst(kind, failure);
    else this.#remind(kind, failure, now);
  }

  /** This kind works. */
  heard(kind: string): void {
    if (!this.#failing.delete(kind) || this.#failing.size > 0) return;
    const { clock, log } = this.#options;
    this.#endedMs = clock.now();
    if (!this.#isToldAway) return;
    this.#isToldAway = false;
    const awayMs = this.#endedMs - this.#sinceMs;
    const { size } = this.#told;
    log.info(
      { awayMs, attempts: this.#attempts, complaints: size },
      `the API server answers again after ${durationText(awayMs)}`,
    );
  }

  #begin(now: number): void {
    this.#sinceMs = now;
    this.#attempts = 0;
    this.#reminders = 0;
    this.#told.clear();
  }

  #tellFirst(kind: string, { message, err, delayMs, isOurs = false }: ContactFailure): void {
    this.#told.add(message);
    this.#isToldAway = true;
    const text = `${kind}: ${message}; trying again, what is known stays`;
    this.#options.log[isOurs ? 'error' : 'warn']({ kind, err, delayMs }, text);
  }

  #remind(kind: string, { message, err }: ContactFailure, now: number): void {
    const awayMs = now - this.#sinceMs;
    const last = REMINDERS_MS.length - 1;
    const dueMs = (REMINDERS_MS[Math.min(this.#reminders, last)] ?? 0) * Math.max(1, this.#reminders - last + 1);
    if (awayMs < dueMs) return;
    this.#reminders += 1;
    this.#isToldAway = true;
    const { collections, log } = this.#options;
    const isAway = this.#failing.size >= collections;
    const who = isAway ? 'the API server' : [...this.#failing.keys()].join(', ');
    const text = `${who}: away for ${durationText(awayMs)}; the rules stay (${message})`;
    log.warn({ kind, err, awayMs, attempts: this.#attempts }, text);
  }
}
