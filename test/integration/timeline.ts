/** Which endpoints a Service had when, and which answers that allows: for tests that change endpoints under traffic. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ProbeReport } from '../../src/lab/probe.ts';

/** After a change is accepted by the API server, so long an answer may still be of before. Milliseconds. */
export const GRACE_MS = 100;

/** The names of pods. */
export interface EndpointSets {
  /** Those that take new connections. */
  readonly usable: ReadonlySet<string>;
  /** Those and the ones that drain: flows that they have are theirs until they are gone. */
  readonly present: ReadonlySet<string>;
}

interface Period extends EndpointSets {
  /** Milliseconds since the epoch: the change was about to be sent. */
  readonly askedAt: number;
  /** The next change was accepted. */
  endedAt: number;
}

export class Timeline {
  readonly #periods: Period[] = [];

  /** From `askedAt` on the Service may have these endpoints, and from `acceptedAt` on no others. */
  changed(sets: EndpointSets, askedAt: number, acceptedAt: number): void {
    const last = this.#periods.at(-1);
    if (last !== undefined) last.endedAt = acceptedAt;
    this.#periods.push({ ...sets, askedAt, endedAt: Number.POSITIVE_INFINITY });
  }

  /** What a connection between these moments may have met. `lagMs`: how late the machine was. */
  during(from: number, to: number, lagMs: number): readonly EndpointSets[] {
    const since = from - GRACE_MS - lagMs;
    return this.#periods.filter(({ askedAt, endedAt }) => askedAt <= to && endedAt >= since);
  }
}

/** The yardstick takes so long on a machine that does nothing else, in milliseconds. */
const USUAL_MS = 20;
/** A change of rules takes up to two calls of the tool one after the other, in each of two families that share the CPU; UDP flows are looked for after that. */
const CALLS = 5;

/**
 * How late the machine was, which is not the product's fault: by how much timers of this process fire late, and by how much longer than usual it takes
 * to run the tool that each change of rules needs, with nothing to do, elsewhere.
 */
export class LagWatch implements AsyncDisposable {
  readonly #late: { readonly at: number; readonly ms: number }[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #work: Promise<void>;
  #isOver = false;
  #due = performance.now();

  /** `yardstick` runs the tool once. */
  constructor(yardstick: () => Promise<unknown>) {
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.#note(now - this.#due - 5);
      this.#due = now;
    }, 5);
    this.#work = this.#measure(yardstick);
  }

  /** The worst within half a second before a moment. */
  before(at: number): number {
    const recent = this.#late.filter(late => late.at > at - 500 && late.at - late.ms < at);
    return Math.max(0, ...recent.map(({ ms }) => ms));
  }

  /** Resolves when half a second has passed without any lag; after 20 s in any case. */
  async quiet(): Promise<void> {
    for (let i = 0; i < 200 && this.before(performance.timeOrigin + performance.now()) > 0; i += 1) await delay(100);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    clearInterval(this.#timer);
    await this.#work;
  }

  async #measure(yardstick: () => Promise<unknown>): Promise<void> {
    while (!this.#isOver) {
      const startedAt = performance.now();
      await yardstick();
      this.#note(CALLS * (performance.now() - startedAt - USUAL_MS));
      await delay(30);
    }
  }

  #note(ms: number): void {
    if (ms > 5) this.#late.push({ at: performance.timeOrigin + performance.now(), ms });
  }
}

export interface Explained {
  readonly report: ProbeReport;
  /** Each client asks over one flow all the time, not over new ones. */
  readonly isOneFlow: boolean;
}

/** A line for each result that no state of the Service at the time explains. */
export function unexplained({ report, isOneFlow }: Explained, timeline: Timeline, lag: LagWatch): string[] {
  const setsAt = (at: number, ms: number) => timeline.during(at - ms, at, lag.before(at));
  const time = (at: number) => new Date(at).toISOString().slice(17, 23);
  const told = (sets: readonly EndpointSets[]) =>
    sets.map(({ usable, present }) => `{${[...usable].join(' ')} of ${[...present].join(' ')}}`).join(' ');
  const wrongAnswers = report.replies.flatMap(({ pod, at, ms }) => {
    const sets = setsAt(at, ms);
    const isRight = sets.some(({ usable, present }) => (isOneFlow ? present : usable).has(pod));
    return isRight ? [] : [`${time(at)} answered by ${pod} though ${told(sets)}`];
  });
  const wrongFailures = report.failures.flatMap(({ error, at, ms }) => {
    const sets = setsAt(at, ms);
    // A datagram that is on its way when its flow is taken from an endpoint that goes is lost, as it would be in that endpoint.
    const isMoved = isOneFlow && error === 'timeout' && sets.length > 1;
    const isRight = isMoved || sets.some(({ usable }) => usable.size === 0);
    return isRight ? [] : [`${time(at)} ${error} after ${Math.round(ms)} ms though ${told(sets)}`];
  });
  return [...wrongAnswers, ...wrongFailures];
}
