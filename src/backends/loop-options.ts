import type { Model } from '../endpoints/types.ts';
import type { Backend } from './backend.ts';
import type { SyncReport, SyncTiming } from './sync-report.ts';

export interface LoopOptions<O> {
  readonly backend: Backend<O>;
  /** The newest Model; its `changed` names what differs since the last pull. */
  readonly pull: () => Model;
  /** How long to wait for more events after the first one; asked at each event. */
  readonly coalesceMs: () => number;
  /** When an answer changes, call `markDirty` for it to take effect at once. */
  readonly timing: () => SyncTiming;
  /** Somebody else may have changed our objects: a sync begins that no event asked for. */
  readonly onDrift?: () => void;
  readonly onSync: (report: SyncReport) => void;
  /** A whole sync that failed: nothing is known to be lost, and it is tried again in `retryMs`. */
  readonly onError: (error: unknown, retryMs: number) => void;
  /** Milliseconds on a monotonic scale. */
  readonly now: () => number;
}
