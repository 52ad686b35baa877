/** The rules of all pods of this node: who has what, and in which order it is written. Where to: rule-tables.ts. */
import { type Change, Ledger, netChange } from './ledger.ts';
import type { PodRules } from './pod-rules.ts';
import type { Failure, HostPortsOf, RuleTables, SourceChecks } from './rule-tables.ts';

export interface CniRulesOptions {
  readonly tables: RuleTables;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>;
}

export interface RuleSettings {
  /** Beside the pods' own networks: where pods are known by their own addresses. */
  readonly nonMasqueradeCIDRs: readonly string[];
}

interface Operation {
  readonly key: string;
  readonly pod: PodRules | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const COMPONENT = { component: 'cni' };

/**
 * Guarantees:
 * 1. A pod's rules come and go together; calls that are made together are written at once.
 * 2. When `add` rejects, nothing of the pod is in the kernel; what others asked for with it is.
 * 3. What somebody else took away is made again by the next change that meets it, or by `repair`.
 */
export class CniRules {
  readonly #tables: RuleTables;
  readonly #log: CniRulesOptions['log'];
  #ledger = new Ledger();
  #queue: Operation[] = [];
  #turn: Promise<unknown> = Promise.resolve();

  constructor({ tables, log }: CniRulesOptions) {
    this.#tables = tables;
    this.#log = log;
  }

  /**
   * Makes the tables be those of these pods, and changes nothing where they are already. A pod that is refused is in the log.
   * @throws CniError when the kernel refuses the tables themselves
   */
  start(pods: readonly PodRules[], { nonMasqueradeCIDRs }: RuleSettings): Promise<void> {
    return this.#inTurn(async () => {
      this.#ledger = new Ledger(nonMasqueradeCIDRs);
      const known = pods.filter(pod => this.#takes(pod));
      await this.#tables.look(this.#ledger);
      if (await this.#tables.isIntact(this.#ledger)) return;
      if ((await this.#tables.rewrite(this.#ledger)) === undefined) return;
      this.#ledger = new Ledger(nonMasqueradeCIDRs);
      const failure = await this.#tables.rewrite(this.#ledger);
      if (failure !== undefined) throw failure.error;
      await this.#apply(known.map(pod => this.#operation(pod)));
    });
  }

  /** The hostPorts that pods had, to be asked before `start` takes away what it isn't told of; undefined: the kernel's rules don't tell them. */
  readHostPorts(): Promise<HostPortsOf | undefined> {
    return this.#inTurn(async () => this.#tables.readHostPorts?.());
  }

  /** The links whose sources the kernel checks. */
  readSourceChecks(): Promise<SourceChecks | undefined> {
    return this.#inTurn(async () => this.#tables.readSourceChecks?.());
  }

  /** @throws CniError: `portTaken` with the holder, `kernel` with what was refused */
  add(pod: PodRules): Promise<void> {
    return this.#enqueue(pod.key, pod);
  }

  /** One that isn't there is fine. @throws CniError */
  remove(key: string): Promise<void> {
    return this.#enqueue(key, undefined);
  }

  /** What of a pod's rules is missing in the kernel; changes nothing. */
  check(pod: PodRules): Promise<readonly string[]> {
    return this.#inTurn(() => this.#tables.missing(this.#ledger, pod));
  }

  /** Whether the kernel has all that it was given. */
  isIntact(): Promise<boolean> {
    return this.#inTurn(() => this.#tables.isIntact(this.#ledger));
  }

  /** Writes the tables anew where they aren't intact. @throws CniError */
  repair(): Promise<void> {
    return this.#inTurn(async () => {
      if (await this.#tables.isIntact(this.#ledger)) return;
      const failure = await this.#tables.rewrite(this.#ledger);
      if (failure !== undefined) throw failure.error;
      this.#log.warn(COMPONENT, `somebody changed ${this.#tables.name}: written anew`);
    });
  }

  /** Bridges on which route_localnet has to be 1, for hostPorts at 127.0.0.1; on all others it isn't needed. */
  localnetBridges(): ReadonlySet<string> {
    return this.#ledger.localnetBridges();
  }

  /** Takes everything away. @throws CniError */
  cleanup(): Promise<void> {
    return this.#inTurn(() => {
      this.#ledger = new Ledger();
      return this.#tables.removeAll();
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #enqueue(key: string, pod: PodRules | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const isFirst = this.#queue.length === 0;
    this.#queue.push({ key, pod, resolve, reject });
    if (isFirst) void this.#inTurn(() => this.#apply(this.#queue.splice(0)));
    return promise;
  }

  #operation(pod: PodRules): Operation {
    const reject = (err: unknown) => this.#log.error({ ...COMPONENT, err }, `no rules for ${pod.key}`);
    return { key: pod.key, pod, resolve: () => undefined, reject };
  }

  #takes(pod: PodRules): boolean {
    try {
      this.#change(pod.key, pod);
      return true;
    } catch (err) {
      this.#log.error({ ...COMPONENT, err }, `no rules for ${pod.key}`);
      return false;
    }
  }

  /** Every operation is answered. Never rejects. */
  async #apply(operations: readonly Operation[]): Promise<void> {
    const undo: (() => void)[] = [];
    const accepted: Operation[] = [];
    const changes: Change[] = [];
    const { rangesVersion } = this.#ledger;
    for (const operation of operations) {
      const before = this.#ledger.get(operation.key);
      try {
        changes.push(this.#change(operation.key, operation.pod));
        undo.unshift(() => this.#ledger.set(operation.key, before));
        accepted.push(operation);
      } catch (error) {
        operation.reject(error);
      }
    }
    const failure = await this.#write(netChange(changes), rangesVersion !== this.#ledger.rangesVersion);
    if (failure === undefined) {
      for (const { resolve } of accepted) resolve();
      return;
    }
    for (const step of undo) step();
    const middle = Math.ceil(accepted.length / 2);
    if (!failure.isRefusal || accepted.length === 1) {
      for (const { reject } of accepted) reject(failure.error);
      return;
    }
    await this.#apply(accepted.slice(0, middle));
    await this.#apply(accepted.slice(middle));
  }

  /** @throws CniError when the pod can't have its rules, or one of its hostPorts is another's */
  #change(key: string, pod: PodRules | undefined): Change {
    const obstacle = pod === undefined ? undefined : this.#tables.obstacle(pod);
    if (obstacle !== undefined) throw obstacle;
    return this.#ledger.set(key, pod);
  }

  /** Why nothing was written. */
  async #write(change: Change, hasNewRanges: boolean): Promise<Failure | undefined> {
    if (change.added.length + change.deleted.length === 0 && !hasNewRanges) return undefined;
    return this.#tables.write(this.#ledger, { change, hasNewRanges });
  }
}
