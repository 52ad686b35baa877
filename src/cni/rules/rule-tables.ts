/** Where the rules of pods are kept in the kernel: nft-tables.ts, or iptables-tables.ts where there is no nf_tables. */
import type { CniError, HostPort } from '../types.ts';
import type { Change, Ledger } from './ledger.ts';
import type { PodRules } from './pod-rules.ts';

/** Of a pod, by its key and addresses. */
export type HostPortsOf = (pod: Pick<PodRules, 'key' | 'addresses'>) => readonly HostPort[];

/** By the host's end of a link: the MAC address that its frames must have; and those whose packets' sources are checked. */
export interface SourceChecks {
  readonly macs: ReadonlyMap<string, string>;
  readonly ips: ReadonlySet<string>;
}

export interface Failure {
  readonly error: CniError;
  /** Which may be for one pod's sake. */
  readonly isRefusal: boolean;
}

export interface LedgerChange {
  readonly change: Change;
  /** The networks are others now. */
  readonly hasNewRanges: boolean;
}

/** Calls come one after the other. What rejects without a word about it does so because the kernel can't be asked. */
export interface RuleTables {
  /** For the log: `the table …`. */
  readonly name: string;
  /** Why a pod can't have its rules here at all. */
  obstacle(pod: PodRules): CniError | undefined;
  /** Forgets what was known of the kernel, and looks. */
  look(ledger: Ledger): Promise<void>;
  /** From what was there before a change to what `ledger` has now. Resolves to why nothing was changed. */
  write(ledger: Ledger, change: LedgerChange): Promise<Failure | undefined>;
  /** Makes everything be as `ledger` says, whatever there is. Resolves to why it isn't. */
  rewrite(ledger: Ledger): Promise<Failure | undefined>;
  /** Whether the kernel has all that `ledger` has. */
  isIntact(ledger: Ledger): Promise<boolean>;
  /** What of a pod's rules, and of those that all have in common, isn't there. Texts for people. */
  missing(ledger: Ledger, pod: PodRules): Promise<readonly string[]>;
  /** The hostPorts of whatever pods the kernel has; absent where they can't be told. */
  readHostPorts?(): Promise<HostPortsOf>;
  /** The host's ends of links whose sources are checked; absent where none are. */
  readSourceChecks?(): Promise<SourceChecks>;
  /** @throws CniError */
  removeAll(): Promise<void>;
}
