/** What is known of an upstream server: passive health, and what it was asked. Pure. */
import { type Histogram, newHistogram, observe } from '../histogram.ts';
import type { UpstreamServer } from '../settings.ts';

/** After so long a server that failed gets a question again, which others answer meanwhile. */
const RETRY_MS = 5000;
/** Between questions that find out whether a server leads to ourselves; those are rare, because they go on to servers of others. */
const PROBE_MS = 60_000;
/** So long a server that doesn't know EDNS is asked without; then it may have learned it. */
const WITHOUT_EDNS_MS = 300_000;
/** Some questions without an answer may be the questions' fault: names whose servers are gone. */
const DOWN_AFTER = 3;
const DOWN_AFTER_MS = 10_000;
/** Seconds. */
const DURATIONS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export class ServerState {
  readonly server: UpstreamServer;
  /** Questions without an answer since the last one that it had. */
  #failedInRow = 0;
  /** It asks us. */
  isLoop = false;
  inFlight = 0;
  requests = 0;
  failures = 0;
  readonly responses = new Map<number, number>();
  readonly duration: Histogram = newHistogram(DURATIONS);
  #failedAtMs = 0;
  /** The first of `#failedInRow`. */
  #failingSinceMs = 0;
  #isSure = false;
  #probedAtMs: number | undefined;
  #deniedEdnsAtMs: number | undefined;

  constructor(server: UpstreamServer) {
    this.server = server;
  }

  /** It had no answer the last time. */
  get isFailing(): boolean {
    return this.#failedInRow > 0;
  }

  /** Nobody listens there, or it has had no answer for several questions and a while. */
  get isDown(): boolean {
    const failedForMs = this.#failedAtMs - this.#failingSinceMs;
    return this.#isSure || (this.#failedInRow >= DOWN_AFTER && failedForMs >= DOWN_AFTER_MS);
  }

  /** Whether it's time to find out if it is ourselves: at first, and when it fails as we would; if so that counts as done. */
  takesProbe(nowMs: number): boolean {
    const last = this.#probedAtMs;
    const isDue = last === undefined || ((this.isFailing || this.isLoop) && nowMs - last >= PROBE_MS);
    if (isDue) this.#probedAtMs = nowMs;
    return isDue;
  }

  /** Whether it's time to find out if it is back; if so that counts as done. */
  takesRetry(nowMs: number): boolean {
    const isDue = this.isFailing && !this.isLoop && nowMs - this.#failedAtMs >= RETRY_MS;
    if (isDue) this.#failedAtMs = nowMs;
    return isDue;
  }

  isWithoutEdns(nowMs: number): boolean {
    return this.#deniedEdnsAtMs !== undefined && nowMs - this.#deniedEdnsAtMs < WITHOUT_EDNS_MS;
  }

  /** It had an error for a question with OPT, and none for the same without. */
  deniedEdns(nowMs: number): void {
    this.#deniedEdnsAtMs = nowMs;
  }

  answered(rcode: number, ms: number): void {
    this.#failedInRow = 0;
    this.#isSure = false;
    this.responses.set(rcode, (this.responses.get(rcode) ?? 0) + 1);
    observe(this.duration, ms / 1000);
  }

  /** @param isSure nobody listens there */
  failed(nowMs: number, isSure: boolean): void {
    if (this.#failedInRow === 0) this.#failingSinceMs = nowMs;
    this.#failedInRow += 1;
    this.#isSure = isSure;
    this.#failedAtMs = nowMs;
    this.failures += 1;
  }
}
