/** What is known of an upstream server: passive health, and what it was asked. Pure. */
import { type Histogram, newHistogram, observe } from '../histogram.ts';
import type { UpstreamServer } from '../settings.ts';

/** Between questions that only find out whether a server is back, and whether one that leads to ourselves still does. */
const RETRY_MS = 5000;
const LOOP_RETRY_MS = 60_000;
/** Seconds. */
const DURATIONS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export class ServerState {
  readonly server: UpstreamServer;
  /** It had no answer the last time. */
  isFailing = false;
  /** It asks us. */
  isLoop = false;
  inFlight = 0;
  requests = 0;
  failures = 0;
  readonly responses = new Map<number, number>();
  readonly duration: Histogram = newHistogram(DURATIONS);
  #probedAtMs: number | undefined;

  constructor(server: UpstreamServer) {
    this.server = server;
  }

  /** Whether it's time to see if it's there, and isn't ourselves; if so that counts as done. */
  takesProbe(nowMs: number): boolean {
    const last = this.#probedAtMs;
    const waitMs = this.isLoop ? LOOP_RETRY_MS : this.isFailing ? RETRY_MS : Number.POSITIVE_INFINITY;
    if (last !== undefined && nowMs - last < waitMs) return false;
    this.#probedAtMs = nowMs;
    return true;
  }

  answered(rcode: number, ms: number): void {
    this.isFailing = false;
    this.responses.set(rcode, (this.responses.get(rcode) ?? 0) + 1);
    observe(this.duration, ms / 1000);
  }

  failed(): void {
    this.isFailing = true;
    this.failures += 1;
  }
}
