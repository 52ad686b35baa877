/**
 * Pods' packets are accepted where iptables' chain FORWARD drops what nobody accepts (Docker sets that policy). Acceptance in a chain of our own doesn't help: a packet has to be accepted by
 * every base chain. nf_tables is asked without a program whether anything is to be done; a program runs only when something is, and where the old tables are in use.
 */
import { type IptablesTools, toolsOf, type Variant } from '../../backends/iptables/tools.ts';
import { runLocked } from '../../backends/iptables/xtables-lock.ts';
import { dump, untilWhole } from '../../backends/nftables/dumps.ts';
import { run as runProgram } from '../../linux/exec.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { readGeneration } from '../../linux/nfnetlink.ts';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../net/ip.ts';
import { attributesIn, textOf } from '../../netfilter/attributes.ts';
import { NFT } from '../../netfilter/messages.ts';
import { acceptanceText, decidesAnything, type ForwardTable, parseForward, removalText } from './forwarding-text.ts';
import { legacyTables } from './legacy-tables.ts';

export interface ForwardingOptions {
  /** undefined = it has no nf_tables. */
  readonly kernel: NftKernel | undefined;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly run?: typeof runProgram;
  readonly generation?: () => Promise<number>;
}

/** `iptables-nft` … with what is wrong. */
export interface ForwardingResult {
  /** Programs' variants and families whose rules were written now: `iptables-nft`. */
  readonly written: readonly string[];
  /** What couldn't be looked at or written, as texts for people. */
  readonly problems: readonly string[];
}

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const TIMEOUT_MS = 60_000;

/** Never on the way of an ADD: with the first pod of a bridge, at the start, and from time to time. */
export class Forwarding {
  readonly #kernel: NftKernel | undefined;
  readonly #log: ForwardingOptions['log'];
  readonly #run: typeof runProgram;
  readonly #generation: () => Promise<number>;
  #turn: Promise<unknown> = Promise.resolve();
  /** When all was as it should be: nf_tables' generation, and for which bridges. */
  #known = '';

  constructor({ kernel, log, run = runProgram, generation = readGeneration }: ForwardingOptions) {
    this.#kernel = kernel;
    this.#log = log;
    this.#run = run;
    this.#generation = generation;
  }

  /** Packets of these bridges' pods are accepted, wherever iptables' FORWARD decides anything; of others any more. Never rejects for a tool's sake. */
  acceptForwarding(bridges: Iterable<string>): Promise<ForwardingResult> {
    const sorted = [...new Set(bridges)].sort();
    return this.#inTurn(async () => {
      const generation = this.#kernel === undefined ? 0 : await this.#generation();
      const isLegacyThere = (await Promise.all(FAMILIES.map(isLegacyUsed))).includes(true);
      const state = `${generation} ${sorted.join(' ')}`;
      if (state === this.#known && !isLegacyThere) return { written: [], problems: [] };
      const result = await this.#each(table =>
        decidesAnything(table) ? acceptanceText(table, sorted) : removalText(table),
      );
      if (result.problems.length === 0 && result.written.length === 0) this.#known = state;
      if (result.written.length > 0) {
        this.#log.info(
          { component: 'cni', bridges: sorted },
          `pods' packets are accepted in FORWARD: ${result.written.join(', ')}`,
        );
      }
      return result;
    });
  }

  /** Takes our chain away. */
  removeForwarding(): Promise<ForwardingResult> {
    return this.#inTurn(() => {
      this.#known = '';
      return this.#each(removalText);
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #each(textFor: (table: ForwardTable) => string): Promise<ForwardingResult> {
    const [written, problems]: [string[], string[]] = [[], []];
    for (const family of FAMILIES) {
      const variants: Variant[] = [];
      if (this.#kernel !== undefined && (await hasNftForward(this.#kernel, family))) variants.push('nft');
      if (await isLegacyUsed(family)) variants.push('legacy');
      for (const variant of variants) {
        const tools = toolsOf(variant, family);
        try {
          if (await this.#change(tools, textFor)) written.push(tools.program);
        } catch (error) {
          problems.push(`${tools.program}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    }
    return { written, problems };
  }

  async #change({ variant, save, restore }: IptablesTools, textFor: (table: ForwardTable) => string): Promise<boolean> {
    const { stdout } = await this.#run(save, ['-t', 'filter'], { timeoutMs: TIMEOUT_MS });
    const input = textFor(parseForward(stdout));
    if (input === '') return false;
    const [args, options, run, log] = [['--noflush'], { input, timeoutMs: TIMEOUT_MS }, this.#run, this.#log] as const;
    if (variant === 'nft') await run(restore, args, options);
    else await runLocked({ file: restore, args, options, run, log });
    return true;
  }
}

/** Whether iptables-nft's table filter has a chain FORWARD. Asks the kernel alone. */
async function hasNftForward(kernel: NftKernel, family: IPFamily): Promise<boolean> {
  const chains = await untilWhole(() => dump(kernel, { type: NFT.getChain, family, table: 'filter' }));
  return chains.some(({ payload }) => {
    const parts = attributesIn(payload);
    const text = (type: number) => textOf(parts.get(type) ?? Buffer.alloc(0));
    return text(1) === 'filter' && text(3) === 'FORWARD' && parts.has(4);
  });
}

async function isLegacyUsed(family: IPFamily): Promise<boolean> {
  return (await legacyTables(family)).includes('filter');
}
