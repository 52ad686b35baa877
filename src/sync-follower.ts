import type { NodePortAddresses } from './backends/node-options.ts';
import type { SyncReport } from './backends/sync-report.ts';
import type { Model } from './endpoints/types.ts';

/** What the kernel has after a sync. */
export interface Programmed {
  readonly model: Model;
  readonly nodePortAddresses: NodePortAddresses;
  readonly hasLocalhostNodePorts: boolean;
  readonly report: SyncReport;
}

/** Who acts on what one family has programmed. A sync that fails is followed by another `pulled`, not by `synced`. */
export interface SyncFollower {
  /** The kernel was read, and serves these claims (see claims.ts) over UDP. */
  found?(udpClaims: Iterable<string>): void;
  /** A sync begins with this Model. */
  pulled(model: Model, previous: Model): void;
  /** It has finished: what was pulled until now is in the kernel, but for what that refused. */
  synced(programmed: Programmed): void;
  /** Nothing more is written, until the next `pulled`: another process does. Resolves when nothing more is done either. */
  paused(): void | Promise<void>;
}
