/** The rules of pods in the tables of ip_tables, for a kernel without nf_tables. Each change writes our chains anew: these tables are copied whole for one rule, too. */
import { readFile } from 'node:fs/promises';
import { describeFailure, toolsOf } from '../../backends/iptables/tools.ts';
import { runLocked } from '../../backends/iptables/xtables-lock.ts';
import { ExecError, run as runProgram } from '../../linux/exec.ts';
import type { CIDR } from '../../net/cidr.ts';
import type { IPFamily } from '../../net/ip.ts';
import { CniError, CODE } from '../types.ts';
import { chainsOf, type IptablesChain, ownLines, removalText, restoreText } from './iptables-text.ts';
import { Ledger } from './ledger.ts';
import type { PodRules } from './pod-rules.ts';
import type { RulesLog, RulesTarget } from './target.ts';

export interface IptablesTargetOptions {
  readonly log: RulesLog;
  readonly run?: typeof runProgram;
}

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const TIMEOUT_MS = 60_000;
/** The tables of a family that are loaded, one a line: a save without `-t` loads none. */
const LOADED: Readonly<Record<IPFamily, string>> = {
  IPv4: '/proc/net/ip_tables_names',
  IPv6: '/proc/net/ip6_tables_names',
};
/** A look takes as long as the tables are large: it is due again after so many times as long. */
const REST = 20;

export class IptablesTarget implements RulesTarget {
  readonly #options: IptablesTargetOptions;
  /** What was ours in the tables after they were written; undefined = nothing was yet. */
  readonly #written = new Map<IPFamily, readonly string[]>();
  /** Where something of ours is, from whenever. */
  readonly #present = new Set<IPFamily>();
  #restUntil = 0;

  constructor(options: IptablesTargetOptions) {
    this.#options = options;
  }

  async begin(): Promise<void> {
    this.#written.clear();
    this.#restUntil = 0;
    for (const family of FAMILIES) {
      if ((await this.#isLoaded(family)) && ownLines(await this.#save(family)).length > 0) this.#present.add(family);
    }
  }

  refusal({ spoof }: PodRules): CniError | undefined {
    if (spoof === undefined) return undefined;
    const field = spoof.mac === undefined ? 'ipspoofchk' : 'macspoofchk';
    return new CniError(CODE.kernel, `${field} needs a kernel with nf_tables, which this one lacks`);
  }

  write(ledger: Ledger): Promise<CniError | undefined> {
    return this.rewrite(ledger);
  }

  async rewrite(ledger: Ledger): Promise<CniError | undefined> {
    for (const family of this.#families(ledger)) {
      const chains = this.#chains(ledger, family);
      try {
        await this.#restore(family, restoreText(chains, await this.#save(family)));
        this.#written.set(family, ownLines(await this.#save(family)));
        this.#present.add(family);
      } catch (error) {
        if (!(error instanceof ExecError)) throw error;
        return new CniError(CODE.kernel, `iptables refuses the rules of pods (${family}): ${describeFailure(error)}`);
      }
    }
    this.#restUntil = 0;
    return undefined;
  }

  async isIntact(ledger: Ledger): Promise<boolean> {
    if (this.#families(ledger).some(family => !this.#written.has(family))) return false;
    const startedAt = performance.now();
    if (startedAt < this.#restUntil) return true;
    for (const [family, lines] of this.#written) {
      if (ownLines(await this.#save(family)).join('\n') !== lines.join('\n')) return false;
    }
    this.#restUntil = performance.now() + REST * (performance.now() - startedAt);
    return true;
  }

  /** A line that is gone is everybody's but those whose address isn't in it while another's is. */
  async missing(pod: PodRules, ledger: Ledger): Promise<readonly string[]> {
    const others = new Set([...ledger.pods].filter(({ key }) => key !== pod.key).flatMap(({ addresses }) => addresses));
    const problems: string[] = [];
    for (const [family, lines] of this.#written) {
      const found = new Set(ownLines(await this.#save(family)));
      const gone = lines.filter(line => !found.has(line) && !addressesIn(line).some(ip => others.has(ip)));
      problems.push(...gone.map(line => `missing in iptables (${family}): ${line}`));
    }
    return problems;
  }

  async cleanup(): Promise<void> {
    this.#written.clear();
    this.#present.clear();
    for (const family of FAMILIES) {
      if (!(await this.#isLoaded(family))) continue;
      const text = removalText(this.#chains(new Ledger(), family), await this.#save(family));
      if (text !== '') await this.#restore(family, text);
    }
  }

  #chains(ledger: Ledger, family: IPFamily): readonly IptablesChain[] {
    const { networks, unmasqueraded } = ledger.cidrsOf(family);
    const texts = (cidrs: readonly CIDR[]) => [...new Set(cidrs.map(({ text }) => text))];
    return chainsOf(family, {
      pods: [...ledger.pods],
      networks: texts(networks),
      unmasqueraded: texts(unmasqueraded),
    });
  }

  #families(ledger: Ledger): readonly IPFamily[] {
    const needed = ledger.families();
    return FAMILIES.filter(family => this.#present.has(family) || needed.has(family));
  }

  async #isLoaded(family: IPFamily): Promise<boolean> {
    try {
      return (await readFile(LOADED[family], 'utf8')).split('\n').includes('nat');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  async #save(family: IPFamily): Promise<string> {
    const { run = runProgram } = this.#options;
    return (await run(tools(family).save, [], { timeoutMs: TIMEOUT_MS })).stdout;
  }

  async #restore(family: IPFamily, input: string): Promise<void> {
    const { run = runProgram, log } = this.#options;
    const options = { input, timeoutMs: TIMEOUT_MS };
    await runLocked({ file: tools(family).restore, args: ['--noflush'], options, run, log });
  }
}

const tools = (family: IPFamily) => toolsOf('legacy', family);

/** Without ports. */
function addressesIn(line: string): readonly string[] {
  return line.split(/[\s/[\]]+/).map(word => (word.includes('.') ? word.replace(/:\d+$/, '') : word));
}
