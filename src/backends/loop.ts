import type { Model } from '../endpoints/types.ts';
import { type Plan, UnreadableError } from './backend.ts';
import { changeCount, diff, isEmpty } from './diff.ts';
import type { LoopOptions } from './loop-options.ts';
import { readKernel } from './read-kernel.ts';
import { changesSince, planAll, plannedObjects, unexplained } from './route-changes.ts';
import type { SyncCause, SyncReport } from './sync-report.ts';
import { Tidying } from './tidying.ts';
import { Timer } from './timer.ts';

const FIRST_RETRY_MS = 250;
const [NEVER_BEFORE, NEVER] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];

/**
 * The only stateful part of programming a family: dirty → wait a little for more → plan → diff → apply → remember what is
 * true. Guarantees:
 * 1. At most one sync runs at a time, and none before the first `markDirty`.
 * 2. What was true is forgotten only when something newer is known to be true; after an error the kernel is read.
 * 3. A route that the kernel refuses never keeps the others from being programmed; it is tried again with growing waits.
 * 4. Whatever somebody else did to our objects is undone within `driftCheckMs` and the time of one full sync.
 * 5. After `pause` and `close` nothing is started; a sync under way is awaited, but not its wait for somebody else's lock.
 */
export class SyncLoop<O> {
  readonly #options: LoopOptions<O>;
  /** What is true in the kernel; undefined before the first read and after an error. */
  #applied: Plan<O> | undefined;
  /** The Model that was planned last. */
  #planned: Model | undefined;
  readonly #timer = new Timer();
  #running: Promise<void> | undefined;
  #queuedAtMs: number | undefined;
  /** No sync before this: the wait after an error. */
  #notBeforeMs = NEVER_BEFORE;
  /** No sync before this either, unless it is urgent: the last one's end and the least period. */
  #quietUntilMs = NEVER_BEFORE;
  #isUrgent = false;
  /** When everything is compared with the kernel again, because it refused something. */
  #recheckAtMs: number | undefined;
  #retryMs = FIRST_RETRY_MS;
  /** When somebody last asked whether our objects are as we left them, or read them. */
  #lookedAtMs = 0;
  /** Keys of what the kernel refused last. */
  #refused: ReadonlySet<string> = new Set();
  #unread: UnreadableError | undefined;
  #isFirst = true;
  #isClosed = false;
  /** Aborted by `pause` and `close`; undefined while paused. */
  #work: AbortController | undefined = new AbortController();
  /** Aborted by an event, which is more urgent than a look for drift. */
  #look: AbortController | undefined;
  readonly #tidying: Tidying;

  constructor(options: LoopOptions<O>) {
    this.#options = options;
    const { backend, onError } = options;
    this.#tidying = new Tidying({ tidy: backend.tidy, onError: error => onError(error, this.#nextRetryMs()) });
  }

  /** Something may have changed: sync soon. Cheap, any number of times. */
  markDirty(): void {
    this.#queuedAtMs ??= this.#options.now();
    this.#look?.abort();
    this.#schedule();
  }

  /** As `markDirty`, for what must not wait for the least period: somebody is being sent to an endpoint that is gone. */
  markUrgent(): void {
    this.#isUrgent = true;
    this.markDirty();
  }

  /** What every route depends on has changed (a node's address, an option): plan all of them again, soon. */
  markAllDirty(): void {
    this.#planned = undefined;
    this.markDirty();
  }

  /** Somebody else may have changed our objects just now: `hasDrifted` is asked at once. */
  markSuspect(): void {
    this.#lookedAtMs = NEVER_BEFORE;
    this.#schedule();
  }

  /** Since when a change has been waiting, on the clock's scale; undefined when nothing waits. */
  get queuedAtMs(): number | undefined {
    return this.#queuedAtMs;
  }

  /** What is true in the kernel as far as this loop knows; undefined before the first sync and after an error. */
  get applied(): ReadonlyMap<string, O> | undefined {
    return this.#applied;
  }

  /** Once it resolves, nothing is written until `resume`; what is marked dirty meanwhile is kept. */
  async pause(): Promise<void> {
    this.#timer.clear();
    this.#work?.abort();
    this.#work = undefined;
    await this.#running;
    await this.#tidying.settled();
    // Tens of MB on a large node, which `resume` reads anew.
    if (this.#work === undefined) this.#applied = undefined;
  }

  /** Goes on after `pause`. Somebody else may have written meanwhile: everything is read and compared, soon. */
  resume(): void {
    if (this.#isClosed || this.#work !== undefined) return;
    this.#work = new AbortController();
    this.#applied = undefined;
    this.#isFirst = true;
    this.#tidying.reset();
    this.#notBeforeMs = NEVER_BEFORE;
    this.#quietUntilMs = NEVER_BEFORE;
    this.#forgetTrouble();
    this.markDirty();
  }

  /** Stops; the kernel keeps its rules. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.pause();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Starts the next work when it is due: soon after the oldest event, for a recheck, or to look for drift. */
  #schedule(): void {
    if (this.#work === undefined || this.#running !== undefined) return;
    this.#timer.clear();
    const forEvent = this.#queuedAtMs === undefined ? NEVER : this.#queuedAtMs + this.#options.coalesceMs();
    const quietUntilMs = this.#isUrgent ? NEVER_BEFORE : this.#quietUntilMs;
    const wanted = Math.min(forEvent, this.#recheckAtMs ?? NEVER, this.#lookDueAtMs);
    const dueAtMs = Math.max(wanted, quietUntilMs, this.#notBeforeMs);
    if (dueAtMs === NEVER) return;
    const { signal } = this.#work;
    this.#timer.set(() => this.#start(signal), dueAtMs - this.#options.now());
  }

  get #lookDueAtMs(): number {
    const { backend, timing } = this.#options;
    if (this.#applied === undefined || backend.hasDrifted === undefined) return NEVER;
    return this.#lookedAtMs + timing().driftCheckMs;
  }

  #start(signal: AbortSignal): void {
    this.#running = this.#sync(signal).then(() => {
      this.#running = undefined;
      this.#schedule();
    });
  }

  async #sync(signal: AbortSignal): Promise<void> {
    const { now, timing, onSync, onError } = this.#options;
    try {
      const cause = await this.#nextCause(signal);
      if (cause === undefined) return;
      const report = await this.#program(cause, signal);
      this.#isFirst = false;
      this.#noteRefusals(report);
      this.#notBeforeMs = NEVER_BEFORE;
      this.#quietUntilMs = now() + timing().minSyncPeriodMs;
      onSync(report);
      if (report.isFull && report.failures.length === 0) this.#tidying.begin(signal);
    } catch (error) {
      // What was pulled may be lost: nothing but a full sync knows what is to be done.
      this.#applied = undefined;
      this.#planned = undefined;
      if (signal.aborted && error === signal.reason) return;
      const retryMs = this.#nextRetryMs();
      this.#recheckAtMs = now() + retryMs;
      this.#notBeforeMs = this.#recheckAtMs;
      onError(error, retryMs);
    }
  }

  /** What is to be done now; undefined = nothing after all. */
  async #nextCause(signal: AbortSignal): Promise<SyncCause | undefined> {
    const { now, timing } = this.#options;
    if (this.#isFirst) return 'start';
    // Timers count whole milliseconds and may fire a part of one early.
    const nowMs = now() + 1;
    if (this.#recheckAtMs !== undefined && this.#recheckAtMs <= nowMs) return 'recheck';
    // Events go first, but not for ever.
    const mayWait = this.#lookDueAtMs + timing().driftCheckMs > nowMs;
    if (this.#queuedAtMs !== undefined && mayWait) return 'change';
    if (this.#lookDueAtMs <= nowMs && (await this.#hasDrifted(signal, mayWait))) {
      this.#options.onDrift?.();
      return 'drift';
    }
    return this.#queuedAtMs === undefined ? undefined : 'change';
  }

  async #hasDrifted(signal: AbortSignal, mayWait: boolean): Promise<boolean> {
    const { backend, now } = this.#options;
    const applied = this.#applied;
    if (applied === undefined || backend.hasDrifted === undefined) return false;
    const look = new AbortController();
    if (mayWait) this.#look = look;
    try {
      const hasDrifted = await backend.hasDrifted(applied, { signal: AbortSignal.any([signal, look.signal]) });
      this.#lookedAtMs = now();
      return hasDrifted;
    } catch (error) {
      signal.throwIfAborted();
      // The event's sync comes now; the look is still due after it.
      if (look.signal.aborted) return false;
      if (error instanceof UnreadableError) return true;
      throw error;
    } finally {
      this.#look = undefined;
    }
  }

  #noteRefusals({ failures, isFull }: SyncReport): void {
    if (failures.length > 0) this.#recheckAtMs = this.#options.now() + this.#nextRetryMs();
    else if (isFull) this.#forgetTrouble();
    if (isFull || failures.length > 0) this.#refused = new Set(failures.map(({ key }) => key));
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

  async #program(cause: SyncCause, signal: AbortSignal): Promise<SyncReport> {
    const { backend, pull, now } = this.#options;
    const beganAtMs = now();
    const previous = this.#planned;
    const known = cause === 'change' ? this.#applied : undefined;
    // What is read takes its place: two of them would be twice the memory.
    if (known === undefined) this.#applied = undefined;
    const current = known ?? (await this.#read(signal));
    const startedAtMs = now();
    if (known === undefined) this.#lookedAtMs = startedAtMs;
    const queuedAtMs = this.#queuedAtMs ?? beganAtMs;
    this.#queuedAtMs = undefined;
    this.#isUrgent = false;
    const model = pull();
    if (cause === 'start' && current.size === 0 && backend.load !== undefined) {
      return { ...(await this.#load(model, signal)), queuedAtMs };
    }
    const isFull = known === undefined || previous === undefined;
    const changes = isFull
      ? diff(current, planAll(backend, model), { settle: backend.settle })
      : changesSince(backend, { previous, current, model });
    const plannedAtMs = now();
    const isRepair = cause === 'drift' || cause === 'recheck';
    const foreign = isRepair && previous !== undefined ? unexplained(backend, { previous, model, changes }) : [];
    this.#planned = model;
    const { plan, failures } = isEmpty(changes)
      ? { plan: current, failures: [] }
      : await backend.apply(changes, current, { signal });
    this.#applied = plan;
    const applyMs = now() - plannedAtMs;
    const failed = new Set(failures.map(({ key }) => key));
    const repaired = foreign.filter(key => !failed.has(key) && !this.#refused.has(key));
    const planMs = plannedAtMs - startedAtMs;
    const unread = this.#unread;
    return { cause, isFull, changes: changeCount(changes), failures, repaired, planMs, applyMs, queuedAtMs, unread };
  }

  /** A start where nothing of ours is: planned while it is being sent. */
  async #load(model: Model, signal: AbortSignal): Promise<Omit<SyncReport, 'queuedAtMs'>> {
    const { backend, now } = this.#options;
    const startedAtMs = now();
    this.#planned = model;
    const applied = await backend.load?.(plannedObjects(backend, model), { signal });
    const { plan, failures } = applied ?? { plan: new Map(), failures: [] };
    this.#applied = plan;
    const applyMs = now() - startedAtMs;
    return { cause: 'start', isFull: true, changes: plan.size, failures, repaired: [], planMs: 0, applyMs };
  }

  async #read(signal: AbortSignal): Promise<Plan<O>> {
    const call = { planned: this.#planned, refused: this.#refused, signal };
    const { plan, unread } = await readKernel(this.#options.backend, call);
    this.#unread = unread;
    return plan;
  }
}
