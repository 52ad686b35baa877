import type { SyncReport } from '../sync-report.ts';
import type { IptablesObject } from './objects.ts';
import type { IptablesOptions } from './rules.ts';
import { masqueradeBitOf } from './shared-rules.ts';

/**
 * While another masquerade bit takes over, both count: a packet that got the old mark before the commit is masqueraded after it. filter accepts
 * both before nat sets the new one (render.ts), and the rules of nat change in one transaction. The next sync drops the old bit.
 */
export class MarkTransition {
  /** The bit that rules in the kernel mark with, as far as known. */
  #bit: number | undefined;

  /** What the kernel was found to hold. */
  found(plan: ReadonlyMap<string, IptablesObject>): void {
    this.#bit = masqueradeBitOf(plan) ?? this.#bit;
  }

  /** The options to plan with now. */
  bridging(options: IptablesOptions): IptablesOptions {
    const former = this.#bit;
    if (former === undefined || former === options.masqueradeBit) return options;
    return { ...options, formerMasqueradeBit: former };
  }

  /** A sync with these options has finished. Returns whether everything must be planned again, without the old bit. */
  synced(report: SyncReport, planned: IptablesOptions, shared: ReadonlyMap<string, unknown>): boolean {
    if (!report.isFull || report.failures.some(({ key }) => shared.has(key))) return false;
    this.#bit = planned.masqueradeBit;
    return planned.formerMasqueradeBit !== undefined;
  }
}
