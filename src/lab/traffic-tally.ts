/** The count of a traffic run: what was opened, what came of it, when each failure happened (pure). */

/** What became of a connection that didn't get its own words back. */
export type FailureKind =
  /** ECONNREFUSED: a reset for the SYN, or an ICMP error. */
  | 'refused'
  /** No answer in time; of a held connection: silence for too long. */
  | 'timedOut'
  /** Broken when it was open already, or closed before the answer. */
  | 'reset'
  /** Answered with something else than was sent. */
  | 'wrong'
  | 'other';

export interface TrafficFailure {
  readonly kind: FailureKind;
  /** An errno name such as ECONNREFUSED, or what was wrong with the answer. */
  readonly error: string;
  /** `10.96.0.80:80/tcp`. */
  readonly target: string;
  readonly isHeld: boolean;
  /** Milliseconds since the epoch, at which the failure was seen. */
  readonly at: number;
}

/** Milliseconds from connect to answer, of the new connections that were answered. NaN when none was. */
export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** The new connections that a pod answered. */
export interface PodShare {
  readonly answers: number;
  /** Milliseconds since the epoch: when the first and the last of them were opened. */
  readonly firstAt: number;
  readonly lastAt: number;
}

export interface HeldReport {
  readonly opened: number;
  /** Lines that came back. */
  readonly answers: number;
  /** Failures of held connections; a connection that broke isn't opened again, so that each counts once. */
  readonly failed: number;
  /** The longest wait for a line, in milliseconds. */
  readonly longestWaitMs: number;
}

export type TrafficCounts = Readonly<Record<FailureKind, number>> & {
  readonly opened: number;
  readonly answered: number;
};

export interface TrafficReport extends TrafficCounts {
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly latencyMs: Latency;
  readonly held: HeldReport;
  /** By name. */
  readonly pods: Readonly<Record<string, PodShare>>;
  /** New connections by target, and how many of them failed. */
  readonly targets: Readonly<Record<string, { readonly opened: number; readonly failed: number }>>;
  /** The first 1000, of new and of held connections, in the order of time; the counts have all. */
  readonly failures: readonly TrafficFailure[];
  /** How far behind its schedule the generator was at worst, in milliseconds: what the machine, not the network, is to blame for. */
  readonly worstLagMs: number;
}

const listedFailures = 1000;

/** Collects what happens; times are milliseconds since the epoch. */
export class TrafficTally {
  readonly #startedAt: number;
  readonly #counts = { opened: 0, answered: 0, refused: 0, timedOut: 0, reset: 0, wrong: 0, other: 0 };
  readonly #held = { opened: 0, answers: 0, failed: 0, longestWaitMs: 0 };
  readonly #pods = new Map<string, { answers: number; firstAt: number; lastAt: number }>();
  readonly #targets = new Map<string, { opened: number; failed: number }>();
  readonly #failures: TrafficFailure[] = [];
  readonly #latencies: number[] = [];
  #worstLagMs = 0;

  constructor(startedAt: number) {
    this.#startedAt = startedAt;
  }

  /** A new connection is about to be opened, so long after it was due. */
  opened(target: string, lagMs: number): void {
    this.#counts.opened++;
    this.#target(target).opened++;
    this.#worstLagMs = Math.max(this.#worstLagMs, lagMs);
  }

  answered(pod: string, openedAt: number, ms: number): void {
    this.#counts.answered++;
    this.#latencies.push(ms);
    const share = this.#pods.get(pod) ?? { answers: 0, firstAt: openedAt, lastAt: openedAt };
    share.answers++;
    share.firstAt = Math.min(share.firstAt, openedAt);
    share.lastAt = Math.max(share.lastAt, openedAt);
    this.#pods.set(pod, share);
  }

  heldOpened(): void {
    this.#held.opened++;
  }

  heldAnswered(waitMs: number): void {
    this.#held.answers++;
    this.#held.longestWaitMs = Math.max(this.#held.longestWaitMs, waitMs);
  }

  failed(failure: TrafficFailure): void {
    if (this.#failures.length < listedFailures) this.#failures.push(failure);
    if (failure.isHeld) {
      this.#held.failed++;
      return;
    }
    this.#counts[failure.kind]++;
    this.#target(failure.target).failed++;
  }

  report(endedAt: number): TrafficReport {
    return {
      startedAt: this.#startedAt,
      endedAt,
      ...this.#counts,
      latencyMs: latencyOf(this.#latencies),
      held: { ...this.#held },
      pods: Object.fromEntries(this.#pods),
      targets: Object.fromEntries(this.#targets),
      failures: this.#failures.toSorted((a, b) => a.at - b.at),
      worstLagMs: this.#worstLagMs,
    };
  }

  #target(target: string): { opened: number; failed: number } {
    const known = this.#targets.get(target);
    if (known !== undefined) return known;
    const made = { opened: 0, failed: 0 };
    this.#targets.set(target, made);
    return made;
  }
}

function latencyOf(latencies: readonly number[]): Latency {
  const sorted = Float64Array.from(latencies).sort();
  // The nearest-rank percentile: a latency that really occurred.
  const at = (percent: number) => sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
  return { p50: at(50), p90: at(90), p99: at(99), max: at(100) };
}

/** The kind of failure behind an error's name. */
export function failureKind(error: string): FailureKind {
  if (error === 'ECONNREFUSED') return 'refused';
  if (error === 'timeout') return 'timedOut';
  if (error === 'ECONNRESET' || error === 'EPIPE' || error.startsWith('closed')) return 'reset';
  return error.startsWith('answered') ? 'wrong' : 'other';
}
