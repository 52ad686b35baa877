import type { ApplyFailure } from './backend.ts';

/**
 * Why a sync was made: the first one after a start or a pause; something changed in the cluster; an error or a refusal made
 * it look again; somebody else may have changed our objects.
 */
export type SyncCause = 'start' | 'change' | 'recheck' | 'drift';

/** One finished sync, for metrics and logs. Durations in ms. */
export interface SyncReport {
  readonly cause: SyncCause;
  /** Whether everything was compared with the kernel, or all of it planned again. */
  readonly isFull: boolean;
  readonly changes: number;
  readonly failures: readonly ApplyFailure[];
  /** Keys of objects that the kernel had otherwise though nothing of ours had changed them: somebody else's doing, now undone. */
  readonly repaired: readonly string[];
  /** Plan and diff: the part that is ours. */
  readonly planMs: number;
  /** The kernel and its tool. */
  readonly applyMs: number;
  /** When the first event of this sync arrived, on the clock's scale. */
  readonly queuedAtMs: number;
  /** Why the kernel couldn't be read when it should last have been, and drift can't be seen. */
  readonly unread?: Error | undefined;
}

/** Periods in ms; asked whenever the next sync is scheduled, so they may change while the loop runs. */
export interface SyncTiming {
  /** Least time from one sync's end to the next one's start, unless that is urgent. */
  readonly minSyncPeriodMs: number;
  /** The longest wait before a failed sync is tried again. */
  readonly maxRetryMs: number;
  /** How often to ask whether somebody else changed our objects. */
  readonly driftCheckMs: number;
}
