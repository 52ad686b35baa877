import type { IptablesIO } from '../../src/backends/iptables/apply.ts';
import { type IptablesTools, toolsOf } from '../../src/backends/iptables/tools.ts';
import { ExecError, type Output, type RunOptions } from '../../src/linux/exec.ts';

const BUILT_IN: Readonly<Record<string, readonly string[]>> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
};
const TARGETS = new Set(['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'DNAT', 'MASQUERADE', 'MARK']);

/** All that iptables-nft-save says of such a table; it exits with 0. */
const UNPRINTABLE = "# Table `nat' is incompatible, use 'nft' tool.\n";

type Chains = Map<string, string[]>;

/**
 * A kernel with iptables-restore --noflush and iptables-save in front: chains, rules, one transaction a table, and the
 * refusals that callers must live with. It takes rules in the form that iptables-save prints. Compared with the real tools in
 * test/integration/iptables-fake.test.ts.
 */
export class FakeIptables {
  readonly #tables = new Map<string, Chains>();
  /** Restores so far, for tests of what is sent. */
  readonly restores: string[] = [];
  /** Rules that contain one of these are refused, as a kernel without a match module would. */
  readonly refuse = new Set<string>();
  /** When set, every call fails as if the tool were missing. */
  isMissing = false;
  /** When set, nat holds a rule that only nft can print. */
  isUnprintable = false;

  /** Calls that find the xtables lock held by somebody else, from now on; as iptables-restore before 1.8.8, which doesn't wait. */
  lockedCalls = 0;
  readonly #tools: IptablesTools;

  /** A kernel with the programs of one variant and family; the others are missing. */
  constructor(tools: IptablesTools = toolsOf('nft', 'IPv4')) {
    this.#tools = tools;
    for (const [table, chains] of Object.entries(BUILT_IN)) {
      this.#tables.set(table, new Map(chains.map(chain => [chain, []])));
    }
  }

  get io(): IptablesIO {
    return { tools: this.#tools, run: this.run };
  }

  readonly run = async (file: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Output> => {
    const { save, restore } = this.#tools;
    if (this.isMissing || (file !== save && file !== restore)) throw fail(file, -1, '', true);
    if (file === save) {
      const tables = args[0] === '-t' ? args.slice(1, 2) : Object.keys(BUILT_IN);
      const stdout = tables.map(table => this.#print(table)).join('');
      options.onOutput?.(Buffer.from(stdout));
      return { stdout: options.onOutput === undefined ? stdout : '', stderr: '' };
    }
    const { input = '' } = options;
    const text = typeof input === 'string' ? input : [...input].join('');
    if (this.lockedCalls > 0) {
      this.lockedCalls -= 1;
      throw fail(file, 4, 'Another app is currently holding the xtables lock. Perhaps you want to use the -w option?');
    }
    this.restores.push(text);
    this.#restore(text);
    return { stdout: '', stderr: '' };
  };

  /** What `nft delete table` does: the table is gone, and the next use makes it anew with built-in chains only. */
  dropTable(table: string): void {
    this.#tables.set(table, new Map((BUILT_IN[table] ?? []).map(chain => [chain, []])));
  }

  #print(table: string): string {
    return this.isUnprintable && table === 'nat' ? UNPRINTABLE : this.save(table);
  }

  save(table: string): string {
    const chains = this.#table(table);
    const lines = [`*${table}`];
    for (const name of chains.keys()) lines.push(`:${name} ${BUILT_IN[table]?.includes(name) ? 'ACCEPT' : '-'} [0:0]`);
    for (const [name, rules] of chains) for (const rule of rules) lines.push(`-A ${name} ${rule}`);
    return `${lines.join('\n')}\nCOMMIT\n`;
  }

  #table(name: string): Chains {
    const chains = this.#tables.get(name);
    if (chains === undefined) throw fail('iptables', 3, `can't initialize table '${name}'`);
    return chains;
  }

  #restore(input: string): void {
    let table = '';
    let draft: Chains = new Map();
    input.split('\n').forEach((line, i) => {
      if (line === '') return;
      if (line.startsWith('*')) {
        table = line.slice(1);
        draft = new Map([...this.#table(table)].map(([name, rules]) => [name, [...rules]]));
      } else if (line === 'COMMIT') {
        this.#checkJumps(draft, i + 1);
        this.#tables.set(table, draft);
      } else if (line.startsWith(':')) draft.set(line.slice(1, line.indexOf(' ')), []);
      else this.#command(draft, line, i + 1);
    });
  }

  #command(chains: Chains, line: string, number: number): void {
    const [verb = '', name = ''] = line.split(' ', 2);
    const rule = line.slice(verb.length + name.length + 2);
    const rules = chains.get(name);
    if (rules === undefined) throw fail('iptables-restore', 2, `line ${number}: no chain ${name}`);
    for (const part of this.refuse) {
      if (line.includes(part) && verb !== '-D') throw fail('iptables-restore', 2, `line ${number}: ${part} refused`);
    }
    if (verb === '-A') rules.push(rule);
    else if (verb === '-I') rules.unshift(rule);
    else if (verb === '-D') {
      const at = rules.indexOf(rule);
      if (at < 0) throw fail('iptables-restore', 1, `line ${number}: no such rule`);
      rules.splice(at, 1);
    } else if (verb === '-X') {
      if (rules.length > 0 || isReferenced(chains, name))
        throw fail('iptables-restore', 4, `line ${number}: chain ${name} busy`);
      chains.delete(name);
    } else throw fail('iptables-restore', 2, `line ${number}: unknown command ${verb}`);
  }

  #checkJumps(chains: Chains, number: number): void {
    for (const rules of chains.values()) {
      for (const rule of rules) {
        const target = targetOf(rule);
        if (target !== '' && !TARGETS.has(target) && !chains.has(target))
          throw fail('iptables-restore', 2, `line ${number}: no chain ${target}`);
      }
    }
  }
}

/** '' of a rule that only counts. */
function targetOf(rule: string): string {
  return / -j (\S+)/.exec(` ${rule}`)?.[1] ?? '';
}

function isReferenced(chains: Chains, name: string): boolean {
  return [...chains.values()].some(rules => rules.some(rule => targetOf(rule) === name));
}

function fail(op: string, exitCode: number, stderr: string, isNotFound = false): ExecError {
  return new ExecError(op, { exitCode, stdout: '', stderr, isNotFound, isTimeout: false, cause: undefined });
}
