import type { Model, ServiceRoute } from '../endpoints/types.ts';
import type { Applied, ApplyFailure, Backend, Changes, Plan } from './backend.ts';
import { changeCount, diff, isEmpty } from './diff.ts';

/** One finished sync, for metrics and logs. Durations in ms. */
export interface SyncReport {
  readonly isFull: boolean;
  readonly changes: number;
  readonly failures: readonly ApplyFailure[];
  /** Plan and diff: the part that is ours. */
  readonly planMs: number;
  /** The kernel and its tool. */
  readonly applyMs: number;
  /** When the first event of this sync arrived, on the clock's scale. */
  readonly queuedAtMs: number;
}

/** What may change while the loop runs. Durations in ms. */
export interface SyncTiming {
  /** Least time from one sync's end to the next one's start. */
  readonly minSyncPeriodMs: number;
  /** The longest wait before a failed sync is tried again. */
  readonly maxRetryMs: number;
}

export interface LoopOptions<O> {
  readonly backend: Backend<O>;
  /** The newest Model; its `changed` names what differs since the last pull. */
  readonly pull: () => Model;
  /** How long to wait for more events after the first one. */
  readonly coalesceMs: number;
  /** Asked whenever a time is needed, so that it can change live. */
  readonly timing: () => SyncTiming;
  readonly onSync: (report: SyncReport) => void;
  /** A whole sync that failed: nothing is known to be lost, and it is tried again in `retryMs`. */
  readonly onError: (error: unknown, retryMs: number) => void;
  /** Milliseconds on a monotonic scale. */
  readonly now: () => number;
}

const FIRST_RETRY_MS = 250;

/**
 * The only stateful part of programming a family: dirty → wait a little for more → plan → diff → apply → remember what is
 * true. Guarantees:
 * 1. At most one sync runs at a time, and none before the first `markDirty`.
 * 2. What was true is forgotten only when something newer is known to be true; after an error the kernel is read.
 * 3. A route that the kernel refuses never keeps the others from being programmed; it is tried again with growing waits.
 * 4. While paused, and after `close`, nothing is started; a sync under way is awaited. Somebody else may write meanwhile, so the
 *    kernel is read before the first sync after a pause.
 */
export class SyncLoop<O> {
  readonly #options: LoopOptions<O>;
  /** What is true in the kernel; undefined before the first read and after an error. */
  #applied: Plan<O> | undefined;
  /** The Model that was planned last. */
  #planned: Model | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #queuedAtMs: number | undefined;
  /** No sync before this: the last one's end and the least period, or the wait after an error. */
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  /** When everything is compared with the kernel again, because it refused something. */
  #recheckAtMs: number | undefined;
  #retryMs = FIRST_RETRY_MS;
  #isPaused = false;
  #isClosed = false;

  constructor(options: LoopOptions<O>) {
    this.#options = options;
  }

  /** Something may have changed: sync soon. Cheap, any number of times. */
  markDirty(): void {
    this.#queuedAtMs ??= this.#options.now();
    this.#schedule();
  }

  /** What every route depends on has changed (a node's address, an option): plan all of them again, soon. */
  markAllDirty(): void {
    this.#planned = undefined;
    this.markDirty();
  }

  /** Since when a change has been waiting, on the clock's scale; undefined when nothing waits. */
  get queuedAtMs(): number | undefined {
    return this.#queuedAtMs;
  }

  /** What is true in the kernel as far as this loop knows; undefined before the first sync and after an error. */
  get applied(): ReadonlyMap<string, O> | undefined {
    return this.#applied;
  }

  /** Finishes the sync under way, then leaves the kernel alone until `resume`; changes are noted all the while. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** Ends a pause: nothing is known of the kernel any more, and what waits is programmed. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#applied = undefined;
    this.markDirty();
  }

  /** Stops; the kernel keeps its rules. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Starts the next sync when it is due: soon after the oldest event, or for a recheck. */
  #schedule(): void {
    if (this.#isClosed || this.#isPaused || this.#running !== undefined) return;
    clearTimeout(this.#timer);
    const { coalesceMs, now } = this.#options;
    const forEvent = this.#queuedAtMs === undefined ? Number.POSITIVE_INFINITY : this.#queuedAtMs + coalesceMs;
    const dueAtMs = Math.max(Math.min(forEvent, this.#recheckAtMs ?? Number.POSITIVE_INFINITY), this.#notBeforeMs);
    if (dueAtMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#start(), Math.max(dueAtMs - now(), 0));
  }

  #start(): void {
    this.#running = this.#sync().then(() => {
      this.#running = undefined;
      this.#schedule();
    });
  }

  async #sync(): Promise<void> {
    const { now, timing, onSync, onError } = this.#options;
    const queuedAtMs = this.#queuedAtMs ?? now();
    this.#queuedAtMs = undefined;
    // Timers count whole milliseconds and may fire a part of one early.
    if (this.#recheckAtMs !== undefined && this.#recheckAtMs - 1 <= now()) this.#applied = undefined;
    try {
      const report = await this.#program(queuedAtMs);
      if (report.failures.length > 0) this.#recheckAtMs = now() + this.#nextRetryMs();
      else if (report.isFull) this.#forgetTrouble();
      this.#notBeforeMs = now() + timing().minSyncPeriodMs;
      onSync(report);
    } catch (error) {
      this.#applied = undefined;
      const retryMs = this.#nextRetryMs();
      this.#recheckAtMs = now() + retryMs;
      this.#notBeforeMs = this.#recheckAtMs;
      onError(error, retryMs);
    }
  }

  #nextRetryMs(): number {
    const retryMs = this.#retryMs;
    this.#retryMs = Math.min(retryMs * 2, this.#options.timing().maxRetryMs);
    return retryMs;
  }

  #forgetTrouble(): void {
    this.#recheckAtMs = undefined;
    this.#retryMs = FIRST_RETRY_MS;
  }

  async #program(queuedAtMs: number): Promise<SyncReport> {
    const { backend, pull, now } = this.#options;
    const previous = this.#planned;
    const known = this.#applied;
    const current = known ?? (await backend.read());
    const startedAtMs = now();
    const model = pull();
    const isFull = known === undefined || previous === undefined;
    const changes = isFull ? this.#fullChanges(current, model) : this.#changesSince(previous, current, model);
    const plannedAtMs = now();
    this.#planned = model;
    const { plan, failures }: Applied<O> = isEmpty(changes)
      ? { plan: current, failures: [] }
      : await backend.apply(changes, current);
    this.#applied = plan;
    const applyMs = now() - plannedAtMs;
    return { isFull, changes: changeCount(changes), failures, planMs: plannedAtMs - startedAtMs, applyMs, queuedAtMs };
  }

  #fullChanges(current: Plan<O>, model: Model): Changes<O> {
    return diff(current, planAll(this.#options.backend, model), { settle: this.#options.backend.settle });
  }

  /** Looks only at the routes that changed: the cost doesn't grow with the number of Services. */
  #changesSince(previous: Model, current: Plan<O>, model: Model): Changes<O> {
    const { backend } = this.#options;
    const next = new Map<string, O>();
    const keys = new Set<string>();
    const plan = (route: ServiceRoute | undefined) => (route === undefined ? [] : backend.planRoute(route));
    for (const key of model.changed) {
      for (const [objectKey] of plan(previous.routes.get(key))) keys.add(objectKey);
      for (const [objectKey, object] of plan(model.routes.get(key))) {
        keys.add(objectKey);
        next.set(objectKey, object);
      }
    }
    const before = new Map<string, O>();
    for (const key of keys) {
      const object = current.get(key);
      if (object !== undefined) before.set(key, object);
    }
    return diff(before, next, { settle: backend.settle });
  }
}

/** Everything that the kernel shall hold for `model`, the shared objects first, then one route after the other. */
export function planAll<O>(
  backend: Pick<Backend<O>, 'planRoute' | 'planShared'>,
  model: Model,
): ReadonlyMap<string, O> {
  const plan = new Map<string, O>(backend.planShared(model));
  for (const route of model.routes.values())
    for (const [key, object] of backend.planRoute(route)) plan.set(key, object);
  return plan;
}
