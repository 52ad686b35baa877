import type { Programmed, SyncFollower } from './sync-follower.ts';

/** Has the kernel route packets from 127.0.0.0/8, once a sync has left NodePorts there and with them the rules that guard what else listens there. */
export class LocalnetFollower implements SyncFollower {
  readonly #allow: () => Promise<void>;
  #isAllowed = false;

  /** @param allow never rejects: what can't be written is in the log. */
  constructor(allow: () => Promise<void>) {
    this.#allow = allow;
  }

  pulled(): void {
    // Only what is programmed counts.
  }

  synced({ hasLocalhostNodePorts, report }: Programmed): void {
    if (this.#isAllowed || !hasLocalhostNodePorts || report.failures.length > 0) return;
    this.#isAllowed = true;
    void this.#allow();
  }

  paused(): void {
    this.#isAllowed = false;
  }
}
