import { ExecError, run as runProgram } from '../../linux/exec.ts';
import { type Plan, UnreadableError } from '../backend.ts';
import type { IptablesIO } from './apply.ts';
import { isServiceChain } from './names.ts';
import type { IptablesObject, Table } from './objects.ts';
import { isSharedChain, parse } from './parse.ts';
import { readTable, TABLES } from './read.ts';
import { jumpRules, localnetJump } from './rules.ts';

type Objects = ReadonlyMap<string, IptablesObject>;
type Rule = IptablesObject & { readonly kind: 'rule' };

/** Stands for the rules of a chain that nobody printed. No plan has it, so the chain is written or deleted as a whole. */
const UNKNOWN = '# unknown';

const TIMEOUT_MS = 60_000;

/**
 * Our objects in the kernel, where iptables-nft-save cannot print a table because of what is not ours: which chains there are from nft, what our
 * shared chains hold from iptables-nft, one by one, and whether the jumps that we make are there. The chains of Services, tens of
 * thousands maybe, are there with rules that no plan has. Rejects with the UnreadableError of the table where that fails too.
 */
export async function readByParts(io: IptablesIO): Promise<Plan<IptablesObject>> {
  const plan: Plan<IptablesObject> = new Map();
  for (const table of TABLES) for (const [key, object] of await readEither(io, table)) plan.set(key, object);
  return plan;
}

async function readEither(io: IptablesIO, table: Table): Promise<Objects> {
  try {
    return await readTable(io, table);
  } catch (unreadable) {
    if (!(unreadable instanceof UnreadableError)) throw unreadable;
    try {
      return await readParts(io, table);
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      throw new UnreadableError(`${unreadable.message}; nor can it be read by parts: ${error.message}`);
    }
  }
}

async function readParts({ tools, run = runProgram }: IptablesIO, table: Table): Promise<Objects> {
  const ask = async (program: string, ...args: readonly string[]) =>
    (await run(program, args, { timeoutMs: TIMEOUT_MS })).stdout;
  const family = tools.family === 'IPv6' ? 'ip6' : 'ip';
  const names = chainNames(await ask('nft', 'list', 'chains', family), `${family} ${table}`);
  const text = names.map(name => `:${name} - [0:0]`);
  for (const name of names) {
    if (isSharedChain(table, name)) text.push(await ask(tools.program, '-t', table, '-S', name));
  }
  const there = new Set(names);
  for (const jump of jumpsOf(table)) {
    // To ask for a jump to a chain that isn't there is an error.
    const mayBe = there.has(jump.rule.slice(jump.rule.lastIndexOf(' ') + 1));
    const command = [tools.program, '-t', table, '-C', jump.chain, ...wordsOf(jump.rule)] as const;
    if (mayBe && (await isYes(ask(...command)))) text.push(`-A ${jump.chain} ${jump.rule}`);
  }
  const objects = new Map(parse(text.join('\n'), table));
  for (const [key, object] of objects) {
    if (object.kind === 'chain' && isServiceChain(object.name)) objects.set(key, { ...object, rules: UNKNOWN });
  }
  return objects;
}

function jumpsOf(table: Table): readonly Rule[] {
  return [...jumpRules(), localnetJump()].filter(jump => jump.kind === 'rule').filter(jump => jump.table === table);
}

/** The names of the chains of one table, such as `ip nat`, in what `nft list chains FAMILY` prints. */
export function chainNames(text: string, table: string): string[] {
  const names: string[] = [];
  let isInTable = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('table ')) isInTable = line.startsWith(`table ${table} {`);
    const name = /^\s+chain (\S+) \{/.exec(line)?.[1];
    if (isInTable && name !== undefined) names.push(name);
  }
  return names;
}

/** The arguments in a rule as iptables-save prints it; our jumps have no quotes within quotes. */
function wordsOf(rule: string): string[] {
  return [...rule.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word);
}

/** What `iptables -C` answers: with exit status 1 for no, which also stands for a chain that it cannot look into. */
async function isYes(answer: Promise<unknown>): Promise<boolean> {
  try {
    await answer;
    return true;
  } catch (error) {
    if (error instanceof ExecError && error.exitCode === 1 && !error.stderr.includes('incompatible')) return false;
    throw error;
  }
}
