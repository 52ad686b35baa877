import type { Model } from './endpoints/types.ts';

/** The CIDRs of one family whose addresses of this node take NodePorts. */
export type NodePortAddresses = 'all' | readonly string[];

/** What the kernel has after a sync. */
export interface Programmed {
  readonly model: Model;
  readonly nodePortAddresses: NodePortAddresses;
}

/** Who tells of one family only what is programmed. A sync that fails is followed by another `pulled`, not by `synced`. */
export interface SyncFollower {
  /** A sync begins with this Model. */
  pulled(model: Model): void;
  /** It has finished: what was pulled until now is in the kernel, but for what that refused. */
  synced(programmed: Programmed): void;
  /** Nothing more is written, until the next `pulled`: another process does. */
  paused(): void;
}
