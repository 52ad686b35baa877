/** The rules of all pods of this node: who has which, and that the kernel has them. */
import { CniError, CODE } from '../types.ts';
import { type Change, Ledger, netChange } from './ledger.ts';
import type { PodRules } from './pod-rules.ts';
import type { HostPortsOf, RulesLog, RulesTarget } from './target.ts';

export interface CniRulesOptions {
  readonly target: RulesTarget;
  readonly log: RulesLog;
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

interface Failure {
  readonly error: CniError;
  /** Which may be for one pod's sake. */
  readonly isRefusal: boolean;
}

const COMPONENT = { component: 'cni' };

/**
 * Guarantees:
 * 1. A pod's rules come and go together; calls that are made together share a change of the kernel.
 * 2. When `add` rejects, nothing of the pod is in the kernel; what others asked for at the same time is.
 * 3. What somebody else took away is made again by the next change that meets it, or by `repair`.
 */
export class CniRules {
  readonly #target: RulesTarget;
  readonly #log: CniRulesOptions['log'];
  #ledger = new Ledger();
  #queue: Operation[] = [];
  #turn: Promise<unknown> = Promise.resolve();

  constructor({ target, log }: CniRulesOptions) {
    this.#target = target;
    this.#log = log;
  }

  /**
   * Makes the kernel have the rules of these pods, and changes nothing where it has them already. A pod that is refused is in the log.
   * @throws CniError when the kernel refuses what all of them need
   */
  start(pods: readonly PodRules[], { nonMasqueradeCIDRs }: RuleSettings): Promise<void> {
    return this.#inTurn(async () => {
      this.#ledger = new Ledger(nonMasqueradeCIDRs);
      const known = pods.filter(pod => this.#takes(pod));
      await this.#target.begin(this.#ledger);
      if (await this.#target.isIntact(this.#ledger)) return;
      if ((await this.#target.rewrite(this.#ledger)) === undefined) return;
      this.#ledger = new Ledger(nonMasqueradeCIDRs);
      const refusal = await this.#target.rewrite(this.#ledger);
      if (refusal !== undefined) throw refusal;
      await this.#apply(known.map(pod => this.#operation(pod)));
    });
  }

  /** The hostPorts that pods had, to be asked before `start` takes away what it isn't told of; undefined: the kernel's rules don't tell them. */
  readHostPorts(): Promise<HostPortsOf | undefined> {
    return this.#inTurn(async () => this.#target.readHostPorts?.());
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
    return this.#inTurn(() => this.#target.missing(pod, this.#ledger));
  }

  /** Whether the kernel has all that it was given. */
  isIntact(): Promise<boolean> {
    return this.#inTurn(() => this.#target.isIntact(this.#ledger));
  }

  /** Writes all rules anew where they aren't intact. @throws CniError */
  repair(): Promise<void> {
    return this.#inTurn(async () => {
      if (await this.#target.isIntact(this.#ledger)) return;
      const refusal = await this.#target.rewrite(this.#ledger);
      if (refusal !== undefined) throw refusal;
      this.#log.warn(COMPONENT, "somebody changed the rules of pods' networks; they were written anew");
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
      return this.#target.cleanup();
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
      this.#set(pod.key, pod);
      return true;
    } catch (err) {
      this.#log.error({ ...COMPONENT, err }, `no rules for ${pod.key}`);
      return false;
    }
  }

  /** @throws CniError */
  #set(key: string, pod: PodRules | undefined): Change {
    const refusal = pod === undefined ? undefined : this.#target.refusal?.(pod);
    if (refusal !== undefined) throw refusal;
    return this.#ledger.set(key, pod);
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
        changes.push(this.#set(operation.key, operation.pod));
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

  /** Why nothing was written. */
  async #write(change: Change, hasNewRanges: boolean): Promise<Failure | undefined> {
    if (change.added.length + change.deleted.length === 0 && !hasNewRanges) return undefined;
    try {
      const error = await this.#target.write(this.#ledger, { change, hasNewRanges });
      return error === undefined ? undefined : { error, isRefusal: true };
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : cause;
      return { error: new CniError(CODE.kernel, `the rules of pods can't be written: ${why}`), isRefusal: false };
    }
  }
}
