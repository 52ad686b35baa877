import type { Model } from '../endpoints/types.ts';
import type { Programmed, SyncFollower } from '../sync-follower.ts';
import { type NodePortAddresses, nodePortAddresses } from './node-addresses.ts';
import { ConntrackReconciler, type ReconcilerOptions } from './reconciler.ts';

/** Deletes the flows that a family's syncs leave without an endpoint; see ConntrackReconciler. */
export class FlowFollower implements SyncFollower {
  readonly #reconciler: ConntrackReconciler;
  #accepted: NodePortAddresses = { nodePortAddresses: [], hasLocalhostNodePorts: false };

  constructor(options: Omit<ReconcilerOptions, 'nodePortAddresses'>) {
    this.#reconciler = new ConntrackReconciler({
      ...options,
      nodePortAddresses: () => nodePortAddresses(this.#accepted),
    });
  }

  found(udpClaims: Iterable<string>): void {
    this.#reconciler.found(udpClaims);
  }

  pulled(model: Model, previous: Model): void {
    this.#reconciler.planned(previous, model);
  }

  synced({ model, report: { cause, changes, failures }, ...accepted }: Programmed): void {
    this.#accepted = accepted;
    // Flows that began while rules were missing were sent nowhere.
    const isWhole = cause === 'start' || (cause !== 'change' && changes > 0);
    this.#reconciler.synced(model, { isWhole, isComplete: failures.length === 0 });
  }

  paused(): Promise<void> {
    return this.#reconciler.pause();
  }
}
