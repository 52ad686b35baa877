/** The rules of all pods of this node in nf_tables, as elements of a few sets. docs: tables.ts. */
import type { NftFamily } from '../../backends/nftables/packet.ts';
import { type BatchRefusal, TableBatch } from '../../backends/nftables/table-batch.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { readGeneration } from '../../linux/nfnetlink.ts';
import { CniError, CODE } from '../types.ts';
import { elementsOf, hostPortsAmong } from './elements.ts';
import type { Ledger } from './ledger.ts';
import { TABLE } from './names.ts';
import type { PodRules } from './pod-rules.ts';
import {
  hasElement,
  hasElements,
  hasStructure,
  hasTable,
  readHostPorts,
  readSourceChecks,
  wrongRanges,
} from './reading.ts';
import type { Failure, HostPortsOf, LedgerChange, RuleTables } from './rule-tables.ts';
import { changeBatch, FAMILIES, refusalError, wholeBatch } from './writing.ts';

export interface NftTablesOptions {
  readonly kernel: NftKernel;
  readonly log: Record<'warn', (fields: object, message: string) => void>;
  /** A number that every commit of anybody changes. */
  readonly generation?: () => Promise<number>;
}

/** ENOENT, EEXIST: the tables aren't as we left them. */
const OTHERS_CHANGED = new Set([2, 17]);

/** What belongs together comes and goes in one transaction. */
export class NftTables implements RuleTables {
  readonly name = `the table ${TABLE}`;
  readonly #kernel: NftKernel;
  readonly #log: NftTablesOptions['log'];
  readonly #generation: () => Promise<number>;
  /** Tables that were there when we last wrote or read them. */
  #present = new Set<NftFamily>();
  /** Of a moment in which everything was as it should be. */
  #intactAt: number | undefined;

  constructor({ kernel, log, generation = readGeneration }: NftTablesOptions) {
    this.#kernel = kernel;
    this.#log = log;
    this.#generation = generation;
  }

  obstacle(): undefined {
    return undefined;
  }

  async look(ledger: Ledger): Promise<void> {
    this.#intactAt = undefined; // what was found then was compared with other networks
    this.#present = new Set(ledger.families());
    for (const family of FAMILIES) if (await hasTable(this.#kernel, family)) this.#present.add(family);
  }

  async write(ledger: Ledger, change: LedgerChange): Promise<Failure | undefined> {
    try {
      const { batch, made } = changeBatch({ ledger, present: this.#present, ...change });
      const refusal = await batch.commit(this.#kernel);
      for (const family of refusal === undefined ? made : []) this.#present.add(family);
      if (refusal === undefined || !OTHERS_CHANGED.has(refusal.errno)) return failureOf(refusal);
      this.#log.warn({ component: 'cni' }, `somebody changed ${this.name}; it is written anew`);
      return await this.rewrite(ledger);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      return { error: new CniError(CODE.kernel, `nf_tables can't be asked: ${why}`), isRefusal: false };
    }
  }

  async rewrite(ledger: Ledger): Promise<Failure | undefined> {
    const families = new Set([...this.#present, ...ledger.families()]);
    if (families.size === 0) return undefined;
    const refusal = await wholeBatch(ledger, families).commit(this.#kernel);
    if (refusal === undefined) this.#present = families;
    return failureOf(refusal);
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

  async missing(ledger: Ledger, pod: PodRules): Promise<readonly string[]> {
    const problems: string[] = [];
    const elements = elementsOf(pod);
    const families = new Set<NftFamily>(elements.map(({ family }) => family));
    for (const family of families) {
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

  readSourceChecks() {
    return readSourceChecks(this.#kernel);
  }

  async readHostPorts(): Promise<HostPortsOf> {
    const elements = await readHostPorts(this.#kernel);
    return pod => hostPortsAmong(elements, pod);
  }

  async removeAll(): Promise<void> {
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

function failureOf(refusal: BatchRefusal | undefined): Failure | undefined {
  return refusal === undefined ? undefined : { error: refusalError(refusal), isRefusal: true };
}
