/** Chains of iptables-rules.ts as the programs read and print them. Pure. */
import { ownText } from '../../text/own-text.ts';
import type { Jump, OwnChains, Table } from './iptables-rules.ts';
import { IPTABLES_CHAINS as CHAINS } from './names.ts';

const TABLES: readonly Table[] = ['filter', 'nat'];
const OWN: ReadonlySet<string> = new Set(Object.values(CHAINS));
const tableOf = (chain: string): Table => (chain === CHAINS.localnet ? 'filter' : 'nat');

/** What of ours is in the kernel. Rules are without `-A CHAIN`, in their order. */
export interface Found {
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Rules of others' chains that lead to ours. */
  readonly jumps: readonly FoundJump[];
}

export type FoundJump = Pick<Jump, 'table' | 'parent' | 'chain' | 'text'>;

/** What iptables-save printed of all tables, or of some. */
export function parseSave(text: string): Found {
  const chains = new Map<string, string[]>();
  const jumps: FoundJump[] = [];
  let table = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1);
    if (!isOurTable(table)) continue;
    const [verb = '', name = ''] = line.split(' ', 2);
    if (verb.startsWith(':') && isOwn(table, verb.slice(1))) chains.set(verb.slice(1), []);
    if (verb !== '-A') continue;
    const rule = ownText(line.slice(verb.length + name.length + 2));
    const chain = / -[jg] (\S+)$/.exec(` ${rule}`)?.[1] ?? '';
    if (isOwn(table, name)) chains.get(name)?.push(rule);
    else if (isOwn(table, chain)) jumps.push({ table, parent: ownText(name), chain, text: rule });
  }
  return { chains, jumps };
}

const isOurTable = (table: string): table is Table => TABLES.some(each => each === table);
const isOwn = (table: Table, chain: string) => OWN.has(chain) && tableOf(chain) === table;

/** Whether packets come to the chains in every way that they should, and in no other. */
export function hasJumps({ jumps }: Found, wanted: readonly Jump[]): boolean {
  return jumps.length === wanted.length && wanted.every(jump => isThere(jumps, jump));
}

/** By where it leads: the rest is printed in one way by one version, and in another by the next. */
export function isThere(jumps: readonly FoundJump[], { parent, chain }: Jump): boolean {
  return jumps.filter(each => each.parent === parent && each.chain === chain).length === 1;
}

/** Input of `iptables-restore --noflush` that makes `found` be these chains; '' where there is nothing to be made. */
export function restoreText(found: Found, chains: OwnChains, jumps: readonly Jump[]): string {
  const wanted = chains.size === 0 ? [] : jumps;
  const isGoing = chains.size === 0;
  // The guard of 127.0.0.0/8 is there before anything is sent there, and goes last.
  const order = isGoing ? TABLES.toReversed() : TABLES;
  return order.map(table => tableText(table, { found, chains, wanted })).join('');
}

interface Making {
  readonly found: Found;
  readonly chains: OwnChains;
  readonly wanted: readonly Jump[];
}

function tableText(table: Table, { found, chains, wanted }: Making): string {
  const isHere = (chain: string) => tableOf(chain) === table;
  const gone = [...found.chains.keys()].filter(chain => isHere(chain) && !chains.has(chain));
  const made = [...chains].filter(([chain]) => isHere(chain));
  const ofTable = wanted.filter(jump => jump.table === table);
  const present = found.jumps.filter(jump => jump.table === table);
  const areRight = hasJumps({ ...found, jumps: present }, ofTable);
  const lines = [
    ...[...gone, ...made.map(([chain]) => chain)].map(chain => `:${chain} - [0:0]`),
    ...made.flatMap(([chain, rules]) => rules.map(({ text }) => `-A ${chain} ${text}`)),
    ...(areRight ? [] : present.map(({ parent, text }) => `-D ${parent} ${text}`)),
    ...(areRight ? [] : ofTable.map(({ parent, text, isFirst }) => `${isFirst ? '-I' : '-A'} ${parent} ${text}`)),
    ...gone.map(chain => `-X ${chain}`),
  ];
  return lines.length === 0 ? '' : `${[`*${table}`, ...lines, 'COMMIT'].join('\n')}\n`;
}
