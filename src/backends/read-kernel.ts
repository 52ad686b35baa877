import type { Model } from '../endpoints/types.ts';
import { type Backend, type Plan, UnreadableError } from './backend.ts';
import { planAll } from './route-changes.ts';

export interface KernelReading<O> {
  readonly plan: Plan<O>;
  /** Why `plan` is what we left there instead of what is there. */
  readonly unread: UnreadableError | undefined;
}

/**
 * Ours in the kernel. Where that can't be told: what we left there, which is `planned` without `refused`, so that changes reach the
 * kernel all the same. Rejects as `read` does, and where we know nothing either.
 */
export async function readKernel<O>(
  backend: Pick<Backend<O>, 'read' | 'planRoute' | 'planShared'>,
  { planned, refused, signal }: { planned: Model | undefined; refused: Iterable<string>; signal: AbortSignal },
): Promise<KernelReading<O>> {
  try {
    return { plan: await backend.read({ signal }), unread: undefined };
  } catch (error) {
    if (!(error instanceof UnreadableError) || planned === undefined) throw error;
    const plan = new Map(planAll(backend, planned));
    for (const key of refused) plan.delete(key);
    return { plan, unread: error };
  }
}
