import type { Model } from '../endpoints/types.ts';
import { type Backend, type Plan, UnreadableError } from './backend.ts';
import { planAll } from './route-changes.ts';

export interface KernelReading<O> {
  readonly plan: Plan<O>;
  /** Why `plan` is what we left there, or only parts of what is there. */
  readonly unread: UnreadableError | undefined;
}

/**
 * Ours in the kernel. Where that can't be told: what we left there, which is `planned` without `refused`, so that changes reach the
 * kernel all the same. Where we know nothing either: its parts. Rejects as `read` and `readByParts` do.
 */
export async function readKernel<O>(
  backend: Pick<Backend<O>, 'read' | 'readByParts' | 'planRoute' | 'planShared'>,
  { planned, refused, signal }: { planned: Model | undefined; refused: Iterable<string>; signal: AbortSignal },
): Promise<KernelReading<O>> {
  try {
    return { plan: await backend.read({ signal }), unread: undefined };
  } catch (error) {
    if (!(error instanceof UnreadableError)) throw error;
    if (planned === undefined) {
      if (backend.readByParts === undefined) throw error;
      return { plan: await backend.readByParts({ signal }), unread: error };
    }
    const plan = new Map(planAll(backend, planned));
    for (const key of refused) plan.delete(key);
    return { plan, unread: error };
  }
}
