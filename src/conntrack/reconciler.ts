import { type Claim, parseClaim } from '../endpoints/claims.ts';
import type { Model } from '../endpoints/types.ts';
import type { Sweep, SweepResult } from '../linux/conntrack.ts';
import { type Flow, type FlowFilter, UDP } from '../linux/conntrack-messages.ts';
import type { Metrics } from '../metrics.ts';
import type { IPFamily } from '../watch/objects.ts';
import { mergeSuspects, type ServiceFlow, type Suspects, staleJudge, suspectClaims } from './stale.ts';

export interface ReconcilerOptions {
  readonly family: IPFamily;
  /** Goes through the connection table and deletes what is stale: `sweepFlows`. */
  readonly sweep: (sweep: Sweep) => Promise<SweepResult>;
  /** Which addresses take NodePorts, as of now. */
  readonly nodePortAddresses: () => (address: string) => boolean;
  readonly metrics: Pick<Metrics, 'conntrackSeconds' | 'conntrackDeleted'>;
  readonly log: Record<'debug' | 'info' | 'warn', (fields: object, message: string) => void>;
}

/** What a pass is to look at. */
interface Work {
  readonly suspects: Suspects;
  /** Every flow of a Service, not only those of `suspects`. */
  readonly isWhole: boolean;
}

/** Instead of more dumps than this, one of all UDP flows costs less: the kernel walks its whole table for each. */
const FEW_DUMPS = 4;
const RETRY_MS = 30_000;

/**
 * Deletes the flows that a change of the rules made stale, once the rules are in the kernel: see stale.ts. Guarantees:
 * 1. It looks only at Services that lost a UDP endpoint or an address, or are new; at all of them after a start and a repair.
 * 2. A flow is deleted only when it is stale by what the kernel was given last and by what is being given to it now.
 * 3. Nobody waits for it, and its errors harm nothing: they are told once, and what was to be done is tried again.
 */
export class ConntrackReconciler {
  readonly #options: ReconcilerOptions;
  /** Claims that a sync has changed which isn't over yet. */
  #planned: Suspects = new Map();
  /** The same of syncs that are over. */
  #due: Work = { suspects: new Map(), isWhole: false };
  #committed: Model | undefined;
  #latest: Model | undefined;
  #running: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #work = new AbortController();
  /** Why it didn't work last; undefined when it did. */
  #failure: string | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** Claims that rules were found for which this process hadn't made. */
  found(claims: Iterable<string>): void {
    const nobodyKnows = { replyPorts: new Set<number>(), isByDestination: true };
    this.#planned = mergeSuspects(this.#planned, new Map([...claims].map(claim => [claim, nobodyKnows])));
  }

  /** A sync begins that takes the kernel from one Model to the next. */
  planned(previous: Model, next: Model): void {
    this.#latest = next;
    this.#planned = mergeSuspects(this.#planned, suspectClaims(previous, next));
  }

  /**
   * The kernel has the rules of this Model. `isWhole`: any flow may be stale. `isComplete`: it refused none of them; else the
   * same claims are looked at again after the next sync.
   */
  synced(model: Model, { isWhole, isComplete }: { isWhole: boolean; isComplete: boolean }): void {
    this.#committed = model;
    this.#owe({ suspects: this.#planned, isWhole });
    if (isComplete) this.#planned = new Map();
    this.#start();
  }

  /** Resolves when nothing is being deleted; nothing will be until the next `synced`. */
  async pause(): Promise<void> {
    clearTimeout(this.#retry);
    this.#committed = undefined;
    this.#work.abort();
    await this.#running;
    this.#work = new AbortController();
  }

  #owe({ suspects, isWhole }: Work): void {
    this.#due = { suspects: mergeSuspects(this.#due.suspects, suspects), isWhole: isWhole || this.#due.isWhole };
  }

  #start(): void {
    const work = this.#due;
    if (this.#running !== undefined || this.#committed === undefined) return;
    if (work.suspects.size === 0 && !work.isWhole) return;
    clearTimeout(this.#retry);
    this.#due = { suspects: new Map(), isWhole: false };
    const { signal } = this.#work;
    this.#running = this.#pass(work, signal).then(isDone => {
      this.#running = undefined;
      if (isDone) {
        this.#start();
        return;
      }
      this.#owe(work);
      if (!signal.aborted) this.#retry = setTimeout(() => this.#start(), RETRY_MS).unref();
    });
  }

  /** Whether the work is done. */
  async #pass(work: Work, signal: AbortSignal): Promise<boolean> {
    const { family, sweep, metrics } = this.#options;
    const labels = { ip_family: family };
    const startedAt = performance.now();
    const isStale = this.#judge(work);
    let deleted = 0;
    try {
      for (const filter of filtersFor(work, family)) deleted += (await sweep({ filter, isStale, signal })).deleted;
      this.#succeeded(work, deleted);
      return true;
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
      return false;
    } finally {
      metrics.conntrackSeconds.observe(labels, (performance.now() - startedAt) / 1000);
      metrics.conntrackDeleted.inc(labels, deleted);
    }
  }

  /** While a sync is under way, its flows may be there already, and those of the one before still: neither is stale. */
  #judge({ suspects }: Work): (flow: Flow) => boolean {
    const options = { lost: new Set(suspects.keys()), takesNodePorts: this.#options.nodePortAddresses() };
    const judgeOf = (model: Model) => ({ model, isStale: staleJudge(model, options) });
    let [committed, latest]: (ReturnType<typeof judgeOf> | undefined)[] = [];
    return flow => {
      const [now, next] = [this.#committed, this.#latest];
      if (now === undefined || next === undefined) return false;
      if (committed?.model !== now) committed = judgeOf(now);
      if (latest?.model !== next) latest = judgeOf(next);
      const serviceFlow = serviceFlowOf(flow);
      return committed.isStale(serviceFlow) && latest.isStale(serviceFlow);
    };
  }

  #succeeded({ isWhole }: Work, deleted: number): void {
    const { log, family } = this.#options;
    const fields = { component: 'conntrack', family, deleted };
    if (this.#failure !== undefined) log.info(fields, 'stale UDP flows can be deleted again');
    this.#failure = undefined;
    if (deleted === 0) return;
    const line = `deleted ${deleted} conntrack entries of UDP clients whose endpoint is gone`;
    if (isWhole) log.info(fields, line);
    else log.debug(fields, line);
  }

  #failed(error: unknown): void {
    const { log, family } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    if (reason === this.#failure) return;
    this.#failure = reason;
    const fields = { component: 'conntrack', family, err: error };
    log.warn(fields, `stale UDP flows cannot be deleted: ${reason}; trying again, the rules are not affected`);
  }
}

function serviceFlowOf({ original, reply, zone }: Flow): ServiceFlow {
  return {
    protocol: original.protocol === UDP ? 'UDP' : 'TCP',
    destination: original.destination,
    destinationPort: original.destinationPort,
    replySource: reply.source,
    replyPort: reply.sourcePort,
    zone: zone || original.zone,
  };
}

function filtersFor({ suspects, isWhole }: Work, family: IPFamily): FlowFilter[] {
  const everything = { family, protocol: UDP };
  if (isWhole) return [everything];
  const ports = new Set([...suspects.values()].flatMap(({ replyPorts }) => [...replyPorts]));
  const filters: FlowFilter[] = [...ports].map(replyPort => ({ ...everything, replyPort }));
  for (const [claim, { isByDestination }] of suspects) {
    if (!isByDestination) continue;
    const { ip, port: destinationPort }: Claim = parseClaim(claim);
    filters.push({ ...everything, ...(ip === undefined ? {} : { destination: ip }), destinationPort });
  }
  return filters.length > FEW_DUMPS ? [everything] : filters;
}
