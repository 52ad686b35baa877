/** The rules of all pods of this node in nf_tables, as elements of a few sets. docs: tables.ts. */
import type { NftFamily } from '../../backends/nftables/packet.ts';
import { type BatchRefusal, TableBatch } from '../../backends/nftables/table-batch.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { readGeneration } from '../../linux/nfnetlink.ts';
import type { CniError } from '../types.ts';
import { elementsOf, hostPortsAmong } from './elements.ts';
import type { Ledger } from './ledger.ts';
import { TABLE } from './names.ts';
import type { PodRules } from './pod-rules.ts';
import { hasElement, hasElements, hasStructure, hasTable, readHostPorts, wrongRanges } from './reading.ts';
import type { HostPortsOf, RulesLog, RulesTarget, TargetChange } from './target.ts';
import { changeBatch, FAMILIES, refusalError, wholeBatch } from './writing.ts';

export interface NftablesTargetOptions {
  readonly kernel: NftKernel;
  readonly log: Pick<RulesLog, 'warn'>;
  /** A number that every commit of anybody changes. */
  readonly generation?: () => Promise<number>;
}

/** ENOENT, EEXIST: the tables aren't as we left them. */
const OTHERS_CHANGED = new Set([2, 17]);

/** A change is one transaction. What somebody else took away is made again by the next change that meets it. */
export class NftablesTarget implements RulesTarget {
  readonly #kernel: NftKernel;
  readonly #log: NftablesTargetOptions['log'];
  readonly #generation: () => Promise<number>;
  /** Tables that were there when we last wrote or read them. */
  #present = new Set<NftFamily>();
  /** Of a moment in which everything was as it should be. */
  #intactAt: number | undefined;

  constructor({ kernel, log, generation = readGeneration }: NftablesTargetOptions) {
    this.#kernel = kernel;
    this.#log = log;
    this.#generation = generation;
  }

  async begin(ledger: Ledger): Promise<void> {
    this.#intactAt = undefined; // what was found then was compared with another ledger
    this.#present = new Set(ledger.families());
    for (const family of FAMILIES) if (await hasTable(this.#kernel, family)) this.#present.add(family);
  }

  async write(ledger: Ledger, { change, hasNewRanges }: TargetChange): Promise<CniError | undefined> {
    const { batch, made } = changeBatch({ ledger, present: this.#present, change, hasNewRanges });
    const refusal = await batch.commit(this.#kernel);
    for (const family of refusal === undefined ? made : []) this.#present.add(family);
    if (refusal === undefined) return undefined;
    if (!OTHERS_CHANGED.has(refusal.errno)) return refusalError(refusal);
    this.#log.warn({ component: 'cni' }, `somebody changed the table ${TABLE}; it is written anew`);
    return this.rewrite(ledger);
  }

  async rewrite(ledger: Ledger): Promise<CniError | undefined> {
    const families = new Set([...this.#present, ...ledger.families()]);
    if (families.size === 0) return undefined;
    const refusal: BatchRefusal | undefined = await wholeBatch(ledger, families).commit(this.#kernel);
    if (refusal !== undefined) return refusalError(refusal);
    this.#present = families;
    return undefined;
  }

  /** One question to the kernel while nobody changes anything. */
  async isIntact(ledger: Ledger): Promise<boolean> {
    if (this.#present.size === 0) return true;
    const generation = await this.#generation();
    if (generation === this.#intactAt) return true;
    for (const family of this.#present) {
      if (!(await hasStructure(this.#kernel, family))) return false;
      if (!(await hasElements(this.#kernel, family, ledger))) return false;
    }
    this.#intactAt = generation;
    return true;
  }

  async missing(pod: PodRules, ledger: Ledger): Promise<readonly string[]> {
    const problems: string[] = [];
    const elements = elementsOf(pod);
    for (const family of new Set<NftFamily>(elements.map(element => element.family))) {
      if (!(await hasStructure(this.#kernel, family))) problems.push(`the table ${TABLE} (${family}) lacks rules`);
      for (const set of await wrongRanges(this.#kernel, family, ledger)) {
        problems.push(`the set ${set} (${family}) has other ranges than the pods' networks`);
      }
    }
    for (const element of elements) {
      if (!(await hasElement(this.#kernel, element))) problems.push(`missing in nf_tables: ${element.what}`);
    }
    return problems;
  }

  async readHostPorts(): Promise<HostPortsOf> {
    const elements = await readHostPorts(this.#kernel);
    return pod => hostPortsAmong(elements, pod);
  }

  async cleanup(): Promise<void> {
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
  }
}
