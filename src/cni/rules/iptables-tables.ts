/** The rules of all pods of this node in the old iptables, where the kernel has no nf_tables. What is there: iptables-rules.ts. */
import { isDeepStrictEqual } from 'node:util';
import { isRefusal, restore } from '../../backends/iptables/apply.ts';
import { describeFailure, toolsOf } from '../../backends/iptables/tools.ts';
import { run as runProgram } from '../../linux/exec.ts';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../net/ip.ts';
import { CniError, CODE } from '../types.ts';
import {
  chainsOf,
  isShared,
  type Jump,
  jumpsOf,
  type OwnChains,
  type PlacedRule,
  podRules,
  withoutComment,
} from './iptables-rules.ts';
import { type Found, hasJumps, isThere, parseSave, restoreText } from './iptables-text.ts';
import type { Ledger } from './ledger.ts';
import type { PodRules } from './pod-rules.ts';
import type { Failure, RuleTables } from './rule-tables.ts';

export interface IptablesTablesOptions {
  /** That the programs and the kernel can do. */
  readonly families: readonly IPFamily[];
  readonly log: Pick<Logger, 'info' | 'warn'>;
  readonly run?: typeof runProgram;
}

const VARIANT = 'legacy';
const TIMEOUT_MS = 60_000;
const NONE: OwnChains = new Map();
/** Rounds of writing and looking, while others write too. */
const TRIES = 3;

/** What was written, and as what the program printed it then: versions of it don't print alike. */
interface Written {
  readonly chains: OwnChains;
  readonly found: Found;
}

interface Printed {
  readonly rule: PlacedRule;
  readonly printed: string;
}

/** Chains are written whole: a restore copies the whole table whatever it changes. Both families at once; what one refuses is taken back from the other. */
export class IptablesTables implements RuleTables {
  readonly name = 'the chains KPROXY-CNI-* of iptables';
  readonly #families: readonly IPFamily[];
  readonly #log: IptablesTablesOptions['log'];
  readonly #run: typeof runProgram;
  #written = new Map<IPFamily, Written>();

  constructor({ families, log, run = runProgram }: IptablesTablesOptions) {
    this.#families = families;
    this.#log = log;
    this.#run = run;
  }

  /** Frames pass iptables only where it is too late to tell a pod by its port. */
  obstacle({ spoof }: PodRules): CniError | undefined {
    if (spoof === undefined) return undefined;
    const field = spoof.mac === undefined ? 'ipspoofchk' : 'macspoofchk';
    return new CniError(CODE.kernel, `${field}: needs nf_tables, which this node's kernel hasn't`);
  }

  async look(): Promise<void> {
    this.#written.clear();
  }

  async write(ledger: Ledger): Promise<Failure | undefined> {
    const isOther = (family: IPFamily) =>
      !isDeepStrictEqual(this.#written.get(family)?.chains, chainsOf(ledger, family));
    return this.#make(ledger, this.#families.filter(isOther));
  }

  rewrite(ledger: Ledger): Promise<Failure | undefined> {
    return this.#make(ledger, this.#families);
  }

  async isIntact(ledger: Ledger): Promise<boolean> {
    const looks = this.#families.map(async family => {
      const [chains, found] = [chainsOf(ledger, family), await this.#read(family)];
      const isIntact = this.#isAs(family, chains, found);
      if (isIntact) this.#written.set(family, { chains, found });
      return isIntact;
    });
    return (await Promise.all(looks)).every(Boolean);
  }

  async missing(ledger: Ledger, pod: PodRules): Promise<readonly string[]> {
    const problems: string[] = [];
    for (const family of this.#families) {
      const own = podRules(pod, family);
      if (own.length === 0) continue;
      const found = await this.#read(family);
      const jumps = jumpsOf(family).filter(jump => !isThere(found.jumps, jump));
      const printed = this.#printed(family, chainsOf(ledger, family));
      const isSame = (a: PlacedRule, b: PlacedRule) =>
        a.chain === b.chain && withoutComment(a.text) === withoutComment(b.text);
      const wanted = [
        ...printed.filter(({ rule }) => isShared(rule)),
        ...own.map(rule => printed.find(each => isSame(each.rule, rule)) ?? { rule, printed: rule.text }),
      ];
      const isMissing = ({ rule, printed: text }: Printed) => found.chains.get(rule.chain)?.includes(text) !== true;
      const whats = [
        ...jumps.map(({ parent, chain }) => `the way from ${parent} to ${chain}`),
        ...wanted.filter(isMissing).map(({ rule }) => rule.what),
      ];
      problems.push(...whats.map(what => `missing in iptables (${family}): ${what}`));
    }
    return problems;
  }

  async removeAll(): Promise<void> {
    for (const family of this.#families) await this.#makeFamily(family, NONE);
  }

  /** What it needs of families that this node can't do counts as refused. */
  async #make(ledger: Ledger, families: readonly IPFamily[]): Promise<Failure | undefined> {
    const lacking = [...ledger.families()].find(family => family !== 'bridge' && !this.#families.includes(family));
    if (lacking !== undefined) {
      return { error: new CniError(CODE.kernel, `${lacking}: this node's iptables can't do it`), isRefusal: true };
    }
    // Of others it isn't known what was there: it is better than nothing.
    const before = [...this.#written].filter(([family]) => families.includes(family));
    const making = families.map(family => this.#makeFamily(family, chainsOf(ledger, family)));
    const [failed] = (await Promise.allSettled(making)).filter(({ status }) => status === 'rejected');
    if (failed?.status !== 'rejected') return undefined;
    await Promise.all(before.map(([family, { chains }]) => this.#takeBack(family, chains)));
    const error: unknown = failed.reason;
    if (error instanceof CniError) return { error, isRefusal: false };
    const text = `iptables can't write the rules of pods: ${describeFailure(error)}`;
    return { error: new CniError(CODE.kernel, text), isRefusal: isRefusal(error) };
  }

  /** What can't be taken back now isn't intact: it is tried again. */
  async #takeBack(family: IPFamily, chains: OwnChains): Promise<void> {
    try {
      await this.#makeFamily(family, chains);
    } catch (err) {
      this.#written.delete(family);
      this.#log.warn({ component: 'cni', err }, `the rules of pods (${family}) can't be taken back now`);
    }
  }

  /** Until it is found so. @throws ExecError, CniError when it is always found otherwise */
  async #makeFamily(family: IPFamily, chains: OwnChains): Promise<void> {
    let found = this.#written.get(family)?.found ?? (await this.#read(family));
    for (let tries = 1; tries <= TRIES; tries += 1) {
      const input = restoreText(found, chains, jumpsOf(family));
      const isStale = this.#written.delete(family);
      try {
        if (input !== '') await this.#restore(family, input);
      } catch (error) {
        // What was made for tables that are others by now says nothing.
        if (!isStale) throw error;
        found = await this.#read(family);
        continue;
      }
      found = await this.#read(family);
      if (!isWhole(found, chains, jumpsOf(family))) continue;
      this.#written.set(family, { chains, found });
      return;
    }
    throw new CniError(CODE.kernel, `iptables (${family}): somebody else changes ${this.name} all the time`);
  }

  #isAs(family: IPFamily, chains: OwnChains, found: Found): boolean {
    if (!isWhole(found, chains, jumpsOf(family))) return false;
    const places = new Map<string, number>();
    return this.#printed(family, chains).every(({ rule: { chain }, printed }) => {
      const at = places.get(chain) ?? 0;
      places.set(chain, at + 1);
      return found.chains.get(chain)?.[at] === printed;
    });
  }

  /** Rules as the program prints them, as far as that was seen; those of a chain in their order. */
  #printed(family: IPFamily, chains: OwnChains): Printed[] {
    const written = this.#written.get(family);
    const seen = isDeepStrictEqual(written?.chains, chains) ? written?.found.chains : undefined;
    return [...chains].flatMap(([chain, rules]) =>
      rules.map((rule, at) => ({ rule: { chain, ...rule }, printed: seen?.get(chain)?.[at] ?? rule.text })),
    );
  }

  async #read(family: IPFamily): Promise<Found> {
    // Without `-t`, which would have the kernel load a table.
    const { stdout } = await this.#run(toolsOf(VARIANT, family).save, [], { timeoutMs: TIMEOUT_MS });
    return parseSave(stdout);
  }

  #restore(family: IPFamily, input: string) {
    return restore(input, { io: { tools: toolsOf(VARIANT, family), run: this.#run, log: this.#log } });
  }
}

/** As many rules in each chain as were written, and the ways to them. */
function isWhole(found: Found, chains: OwnChains, jumps: readonly Jump[]): boolean {
  const counts = (map: ReadonlyMap<string, readonly unknown[]>) =>
    [...map].map(([chain, rules]) => `${chain} ${rules.length}`).sort();
  return isDeepStrictEqual(counts(found.chains), counts(chains)) && hasJumps(found, chains.size === 0 ? [] : jumps);
}
