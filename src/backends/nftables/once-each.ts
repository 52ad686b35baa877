/** Elements that a dump tells of twice. Pure. */
import type { Element } from '../../netfilter/messages.ts';

/** Elements moved while the kernel told of them: some came twice, so others may not have come at all. */
export class TornDumpError extends Error {
  override readonly name = 'TornDumpError';

  constructor(set: string) {
    super(`elements of the set ${set} moved while they were read`);
  }
}

/** Sees that each element of a dump comes once. */
export class OnceEach {
  readonly #keys = new Map<string, Set<string>>();

  /** Whether it is the first time. */
  isFirst(set: string, { key, keyEnd }: Element): boolean {
    const keys = this.#keys.get(set) ?? new Set();
    this.#keys.set(set, keys);
    const before = keys.size;
    keys.add(key.toString('latin1') + (keyEnd?.toString('latin1') ?? ''));
    return keys.size > before;
  }
}
