import type { Configuration } from '../config/configuration.ts';
import type { ProxyMode } from '../config/proxy-modes.ts';
import type { DumpFormat } from '../dump/format.ts';
import type { Model } from '../endpoints/types.ts';
import type { PacketCounts, RuleCounts } from '../metric-readings.ts';
import type { ServiceCount } from '../service-metrics.ts';
import type { Node } from '../watch/objects.ts';
import type { Backend, Plan } from './backend.ts';
import type { KernelFacts, NodeOptions } from './node-options.ts';
import type { SyncReport } from './sync-report.ts';

/**
 * A backend with what its family's proxy must know of the mode: all that differs between modes is here or in the Backend. Made once a family, used
 * by one loop; a plain object, whose functions don't use `this`. `close` also frees what it holds (a shell, a socket).
 */
export interface FamilyBackend<O, Options extends NodeOptions = NodeOptions> extends Backend<O> {
  readonly mode: ProxyMode;
  readonly options: OptionsSource<Options>;
  readonly syncs: SyncSteps<O, Options>;
  readonly counts?: BackendCounts<O>;
  readonly dump: DumpFormat<O>;
  /** Gives memory back to the system that the collector of garbage knows nothing of; called after it. Absent where there is none to speak of. */
  readonly releaseMemory?: () => Promise<void>;
  /**
   * Whether a sync of one change is so cheap that the first event after a pause need not wait for others, only those soon after a sync. Absent = every event
   * waits a little.
   */
  readonly startsAtOnce?: boolean;
  /**
   * The claims (see claims.ts) over UDP that objects in the kernel serve. After a start they are all that is known of a Service that was deleted
   * while nobody watched: its flows still lead to its endpoints.
   */
  udpClaims(plan: ReadonlyMap<string, O>): Iterable<string>;
  /** Why a sync failed, for the operator: for a tool that is missing, what to install. Absent = the error's message. */
  describeError?(error: unknown): string;
}

/** What is known beside the configuration. */
export interface KnownFacts {
  /** This node's object. */
  readonly node: Node | undefined;
  /** Ranges of cluster IPs, canonical, both families'; none where the cluster doesn't tell. */
  readonly serviceCIDRs: readonly string[];
  readonly kernel: KernelFacts | undefined;
}

/** What plans are made with beside Services and endpoints. Pure. */
export interface OptionsSource<Options> {
  of(configuration: Configuration, known: KnownFacts): Options;
  /** What differs, a line for each field, for the log. */
  changes(before: Options, after: Options): readonly string[];
}

/** What happens around a sync. */
export interface SyncSteps<O, Options> {
  /** The kernel was read for a sync, and holds this. */
  found?(plan: Plan<O>): void;
  /** From now on everything is planned with these options: a sync begins. Also called once before the first. */
  begin(options: Options): void;
  /** It has finished. Returns whether everything must be planned again: what was programmed is the first of two steps. */
  finish?(report: SyncReport, model: Model): boolean;
}

/** What the kernel or the backend counts, for metrics. Each is absent where the mode has no such thing. */
export interface BackendCounts<O> {
  /** Of all objects, and of those that the sync under way or the last one wrote. */
  rules?(applied: ReadonlyMap<string, O>): { readonly total: RuleCounts; readonly last: RuleCounts };
  /** Elements of ours in each set or map. */
  elements?(applied: ReadonlyMap<string, O>): ReadonlyMap<string, number>;
  /** See RuleReadings. */
  packets?(model: Model): Promise<PacketCounts | undefined>;
  /** See ServiceReadings; only asked for when the operator wants them. */
  services?(): Promise<readonly ServiceCount[] | undefined>;
}
