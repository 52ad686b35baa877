/** Where the rules of pods are written: nf_tables, or iptables where the kernel has none. */
import type { Logger } from '../../log.ts';
import type { CniError, HostPort } from '../types.ts';
import type { Change, Ledger } from './ledger.ts';
import type { PodRules } from './pod-rules.ts';

export type RulesLog = Pick<Logger, 'info' | 'warn' | 'error'>;

export interface TargetChange {
  readonly change: Change;
  /** The networks are others now. */
  readonly hasNewRanges: boolean;
}

/** Which hostPorts a pod has. */
export type HostPortsOf = (pod: Pick<PodRules, 'key' | 'addresses'>) => readonly HostPort[];

/** One call at a time. All reject when the kernel can't be asked at all. */
export interface RulesTarget {
  /** There is a ledger that says other things than the one before: finds out what is there, and writes nothing. */
  begin(ledger: Ledger): Promise<void>;
  /** Why this pod's rules can't be written here, whatever else there is; undefined, or no such method: they can. */
  refusal?(pod: PodRules): CniError | undefined;
  /** All of the change or nothing of it, then with why. */
  write(ledger: Ledger, change: TargetChange): Promise<CniError | undefined>;
  /** Everything anew. */
  rewrite(ledger: Ledger): Promise<CniError | undefined>;
  /** Whether the kernel has all that the ledger says. Cheap while nobody changes anything. */
  isIntact(ledger: Ledger): Promise<boolean>;
  /** What of a pod's rules isn't there, for people. */
  missing(pod: PodRules, ledger: Ledger): Promise<readonly string[]>;
  /** What the kernel has from before, whatever a ledger says; no such method: that can't be told. */
  readHostPorts?(): Promise<HostPortsOf>;
  /** Takes everything away. @throws CniError */
  cleanup(): Promise<void>;
}
