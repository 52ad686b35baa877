/** The rules of all pods of this node in nf_tables, as elements of a few sets. docs: tables.ts. */
import type { NftFamily } from '../../backends/nftables/packet.ts';
import { type BatchRefusal, TableBatch } from '../../backends/nftables/table-batch.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { readGeneration } from '../../linux/nfnetlink.ts';
import { CniError, CODE } from '../types.ts';
import { elementsOf } from './elements.ts';
import { type Change, Ledger, netChange } from './ledger.ts';
import { TABLE } from './names.ts';
import type { PodRules } from './pod-rules.ts';
import { hasElement, hasElements, hasStructure, hasTable, wrongRanges } from './reading.ts';
import { changeBatch, FAMILIES, refusalError, wholeBatch } from './writing.ts';

export interface CniRulesOptions {
  readonly kernel: NftKernel;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>;
  /** A number that every commit of anybody changes. */
  readonly generation?: () => Promise<number>;
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

/** ENOENT, EEXIST: the tables aren't as we left them. */
const OTHERS_CHANGED = new Set([2, 17]);
const COMPONENT = { component: 'cni' };

/**
 * Guarantees:
 * 1. A pod's elements come and go in one transaction; calls that are made together share it.
 * 2. When `add` rejects, nothing of the pod is in the kernel; others' elements in the same transaction are.
 * 3. What somebody else took away is made again by the next change that meets it, or by `repair`.
 */
export class CniRules {
  readonly #kernel: NftKernel;
  readonly #log: CniRulesOptions['log'];
  readonly #generation: () => Promise<number>;
  #ledger = new Ledger();
  /** Tables that were there when we last wrote or read them. */
  #present = new Set<NftFamily>();
  #queue: Operation[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  /** Of a moment in which everything was as it should be. */
  #intactAt: number | undefined;

  constructor({ kernel, log, generation = readGeneration }: CniRulesOptions) {
    this.#kernel = kernel;
    this.#log = log;
    this.#generation = generation;
  }

  /**
   * Makes the tables be those of these pods, and changes nothing where they are already. A pod that is refused is in the log.
   * @throws CniError when the kernel refuses the tables themselves
   */
  start(pods: readonly PodRules[], { nonMasqueradeCIDRs }: RuleSettings): Promise<void> {
    return this.#inTurn(async () => {
      this.#ledger = new Ledger(nonMasqueradeCIDRs);
      this.#intactAt = undefined; // what was found then was compared with other networks
      const known = pods.filter(pod => this.#takes(pod));
      this.#present = new Set(this.#ledger.families());
      for (const family of FAMILIES) if (await hasTable(this.#kernel, family)) this.#present.add(family);
      if (await this.#isIntact()) return;
      if ((await this.#rewrite()) === undefined) return;
      this.#ledger = new Ledger(nonMasqueradeCIDRs);
      const refusal = await this.#rewrite();
      if (refusal !== undefined) throw refusalError(refusal);
      await this.#apply(known.map(pod => this.#operation(pod)));
    });
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
    return this.#inTurn(async () => {
      const problems: string[] = [];
      const elements = elementsOf(pod);
      const families = new Set<NftFamily>(elements.map(({ family }) => family));
      for (const family of families) {
        if (!(await hasStructure(this.#kernel, family))) problems.push(`the table ${TABLE} (${family}) lacks rules`);
        for (const set of await wrongRanges(this.#kernel, family, this.#ledger)) {
          problems.push(`the set ${set} (${family}) has other ranges than the pods' networks`);
        }
      }
      for (const element of elements) {
        if (!(await hasElement(this.#kernel, element))) problems.push(`missing in nf_tables: ${element.what}`);
      }
      return problems;
    });
  }

  /** Whether the kernel has all that it was given. One question to the kernel while nobody changes anything. */
  isIntact(): Promise<boolean> {
    return this.#inTurn(() => this.#isIntact());
  }

  /** Writes the tables anew where they aren't intact. @throws CniError */
  repair(): Promise<void> {
    return this.#inTurn(async () => {
      if (await this.#isIntact()) return;
      const refusal = await this.#rewrite();
      if (refusal !== undefined) throw refusalError(refusal);
      this.#log.warn(COMPONENT, `somebody changed the table ${TABLE}; it was written anew`);
    });
  }

  /** Bridges on which route_localnet has to be 1, for hostPorts at 127.0.0.1; on all others it isn't needed. */
  localnetBridges(): ReadonlySet<string> {
    return this.#ledger.localnetBridges();
  }

  needsLocalnet(bridge: string): boolean {
    return this.localnetBridges().has(bridge);
  }

  /** Takes everything away. @throws CniError */
  cleanup(): Promise<void> {
    return this.#inTurn(async () => {
      this.#ledger = new Ledger();
      this.#present.clear();
      this.#intactAt = undefined;
      const batch = new TableBatch();
      let isEmpty = true;
      for (const family of FAMILIES) {
        if (!(await hasTable(this.#kernel, family))) continue;
        batch.removeTable({ name: TABLE, family });
        isEmpty = false;
      }
      const refusal = isEmpty ? undefined : await batch.commit(this.#kernel);
      if (refusal !== undefined) throw refusalError(refusal);
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
      this.#ledger.set(pod.key, pod);
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
        changes.push(this.#ledger.set(operation.key, operation.pod));
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
      const { batch, made } = changeBatch({ ledger: this.#ledger, present: this.#present, change, hasNewRanges });
      let refusal = await batch.commit(this.#kernel);
      for (const family of refusal === undefined ? made : []) this.#present.add(family);
      if (refusal !== undefined && OTHERS_CHANGED.has(refusal.errno)) {
        this.#log.warn(COMPONENT, `somebody changed the table ${TABLE}; it is written anew`);
        refusal = await this.#rewrite();
      }
      return refusal === undefined ? undefined : { error: refusalError(refusal), isRefusal: true };
    } catch (cause) {
      const error = new CniError(
        CODE.kernel,
        `nf_tables can't be asked: ${cause instanceof Error ? cause.message : cause}`,
      );
      return { error, isRefusal: false };
    }
  }

  async #rewrite(): Promise<BatchRefusal | undefined> {
    const families = new Set([...this.#present, ...this.#ledger.families()]);
    if (families.size === 0) return undefined;
    const refusal = await wholeBatch(this.#ledger, families).commit(this.#kernel);
    if (refusal === undefined) this.#present = families;
    return refusal;
  }

  async #isIntact(): Promise<boolean> {
    if (this.#present.size === 0) return true;
    const generation = await this.#generation();
    if (generation === this.#intactAt) return true;
    for (const family of this.#present) {
      if (!(await hasStructure(this.#kernel, family))) return false;
      if (!(await hasElements(this.#kernel, family, this.#ledger))) return false;
    }
    this.#intactAt = generation;
    return true;
  }
}
