import type { Changes } from '../backend.ts';
import { CHAIN } from './names.ts';
import type { IptablesObject, Table } from './objects.ts';

/** One step of iptables-restore for one object. */
export interface Step {
  readonly key: string;
  readonly table: Table;
  /** Lines that declare (and thereby empty) a chain: `:NAME - [0:0]`. */
  readonly declare: string;
  readonly commands: readonly string[];
}

/**
 * The order in which steps may reach the kernel one by one: a chain after those it jumps to, an entry after its chain, a
 * refusal there before its entry goes and gone only after its entry came, a chain deleted after its last reference.
 * Built-in chains jump to ours last of all additions, so that a cold start takes effect as a whole.
 */
const RANK = {
  filterChain: 0,
  refuse: 1,
  endpoint: 2,
  policy: 3,
  external: 4,
  dispatch: 5,
  entry: 6,
  jump: 7,
  removeJump: 8,
  removeEntry: 9,
  removeRefusal: 10,
  removeDispatch: 11,
  removeExternal: 12,
  removePolicy: 13,
  removeEndpoint: 14,
} as const;

/** The steps of `changes`, ordered so that every prefix of them leaves working rules. */
export function stepsOf(changes: Changes<IptablesObject>): Step[] {
  const ranked: { rank: number; step: Step }[] = [];
  for (const [key, object] of changes.deleted) {
    if (!goesWithChain(object, changes)) ranked.push({ rank: removalRank(object), step: removal(key, object) });
  }
  for (const [key, object] of changes.created) ranked.push({ rank: additionRank(object), step: addition(key, object) });
  for (const [key, { after }] of changes.updated)
    ranked.push({ rank: additionRank(after), step: addition(key, after) });
  return ranked.sort((a, b) => a.rank - b.rank).map(({ step }) => step);
}

/** The text for `iptables-restore --noflush`: one section, so one transaction, per run of steps in the same table. */
export function render(steps: readonly Step[]): string {
  const lines: string[] = [];
  for (let start = 0; start < steps.length; ) {
    const table = steps[start]?.table;
    let end = start;
    while (end < steps.length && steps[end]?.table === table) end += 1;
    const section = steps.slice(start, end);
    lines.push(`*${table}`);
    for (const { declare } of section) if (declare !== '') lines.push(declare);
    for (const { commands } of section) lines.push(...commands);
    lines.push('COMMIT');
    start = end;
  }
  lines.push('');
  return lines.join('\n');
}

function addition(key: string, object: IptablesObject): Step {
  const { table } = object;
  if (object.kind === 'dispatch') return { key, table, declare: declaration(object.name), commands: [] };
  if (object.kind === 'chain') {
    const commands = object.rules === '' ? [] : object.rules.split('\n').map(rule => `-A ${object.name} ${rule}`);
    return { key, table, declare: declaration(object.name), commands };
  }
  // At the head, so that the jump to KUBE-NODEPORTS stays last and our jumps come before other programs' rules.
  const verb = isNodePortJump(object) ? '-A' : '-I';
  return { key, table, declare: '', commands: [`${verb} ${object.chain} ${object.rule}`] };
}

function removal(key: string, object: IptablesObject): Step {
  const { table } = object;
  if (object.kind === 'rule') return { key, table, declare: '', commands: [`-D ${object.chain} ${object.rule}`] };
  // Only an empty chain can be deleted; the declaration empties it.
  return { key, table, declare: declaration(object.name), commands: [`-X ${object.name}`] };
}

function declaration(name: string): string {
  return `:${name} - [0:0]`;
}

function isNodePortJump(object: IptablesObject): boolean {
  return object.kind === 'rule' && object.chain === CHAIN.services && object.rule.endsWith(`-j ${CHAIN.nodePorts}`);
}

/** An entry whose chain is deleted too needs no step: finding a rule among thousands is what makes deletion slow. */
function goesWithChain(object: IptablesObject, changes: Changes<IptablesObject>): boolean {
  return object.kind === 'rule' && changes.deleted.has(`${object.table}/${object.chain}`);
}

function isBuiltIn(chain: string): boolean {
  return !chain.startsWith('KUBE-');
}

function additionRank(object: IptablesObject): number {
  if (object.kind === 'rule') {
    if (isBuiltIn(object.chain) || isNodePortJump(object)) return RANK.jump;
    return object.table === 'filter' ? RANK.refuse : RANK.entry;
  }
  if (object.table === 'filter') return RANK.filterChain;
  if (object.kind === 'dispatch') return RANK.dispatch;
  const kind = chainKind(object.name);
  return RANK[kind];
}

function removalRank(object: IptablesObject): number {
  if (object.kind === 'rule') {
    if (isBuiltIn(object.chain)) return RANK.removeJump;
    return object.table === 'filter' ? RANK.removeRefusal : RANK.removeEntry;
  }
  if (object.kind === 'dispatch') return RANK.removeDispatch;
  return { external: RANK.removeExternal, policy: RANK.removePolicy, endpoint: RANK.removeEndpoint }[
    chainKind(object.name)
  ];
}

/** Chains that nothing but policy chains jump to (endpoints, marks) count as endpoints. */
function chainKind(name: string): 'external' | 'policy' | 'endpoint' {
  if (name.startsWith('KUBE-EXT-') || name.startsWith('KUBE-FW-')) return 'external';
  return name.startsWith('KUBE-SVC-') || name.startsWith('KUBE-SVL-') ? 'policy' : 'endpoint';
}
