import type { Backend, KernelCallOptions, Plan } from './backends/backend.ts';
import type { FamilyBackend } from './backends/family-backend.ts';
import type { SyncFollower } from './sync-follower.ts';

export interface Observers<O> {
  readonly followers: readonly SyncFollower[];
  /** After the backend's own. */
  readonly tidy?: Backend<O>['tidy'];
}

/** The backend, with what the loop does and finds told to whom it concerns. */
export function observedBackend<O>(backend: FamilyBackend<O>, { followers, tidy }: Observers<O>): Backend<O> {
  const { readByParts } = backend;
  const noteFound = (plan: Plan<O>) => {
    backend.syncs.found?.(plan);
    for (const follower of followers) follower.found?.(backend.udpClaims(plan));
    return plan;
  };
  return {
    ...backend,
    read: async call => noteFound(await backend.read(call)),
    ...(readByParts && { readByParts: async (call?: KernelCallOptions) => noteFound(await readByParts(call)) }),
    tidy: async call => {
      await backend.tidy?.(call);
      await tidy?.(call);
    },
  };
}
