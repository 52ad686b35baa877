import type { Changes } from '../backend.ts';
import { CHAIN } from './names.ts';
import type { IptablesObject, Table } from './objects.ts';

/** One step of iptables-restore for one object. Its text is made when it is sent: all of a full load would be tens of MB. */
export interface Step {
  readonly key: string;
  readonly object: IptablesObject;
  readonly isRemoval: boolean;
}

/**
 * The order in which steps may reach the kernel one by one: a refusal is there before its entry goes and gone only after its
 * entry came, a chain is deleted after its last reference. Additions in nat keep the order of the Plan, which lists what is
 * jumped to first and one Service after the other: iptables-nft-restore is quick with chains that it declares itself.
 * Built-in chains jump to ours last of all additions, so that a cold start takes effect as a whole.
 */
const RANK = {
  filterChain: 0,
  refuse: 1,
  nat: 2,
  jump: 3,
  removeJump: 4,
  removeEntry: 5,
  removeRefusal: 6,
  removeDispatch: 7,
  removeExternal: 8,
  removePolicy: 9,
  removeEndpoint: 10,
  removeShared: 11,
} as const;

/** The steps of `changes`, ordered so that every prefix of them leaves working rules. */
export function stepsOf(changes: Changes<IptablesObject>): Step[] {
  const ranked: { rank: number; step: Step }[] = [];
  for (const [key, object] of changes.deleted) {
    if (!goesWithChain(object, changes))
      ranked.push({ rank: removalRank(object), step: { key, object, isRemoval: true } });
  }
  for (const [key, object] of changes.created)
    ranked.push({ rank: additionRank(object), step: { key, object, isRemoval: false } });
  for (const [key, { after: object }] of changes.updated) {
    ranked.push({ rank: additionRank(object), step: { key, object, isRemoval: false } });
  }
  return ranked.sort((a, b) => a.rank - b.rank).map(({ step }) => step);
}

/** The text for `iptables-restore --noflush`: one section, so one transaction, per run of steps in the same table. */
export function render(steps: readonly Step[]): string {
  return [...linesOf(steps), ''].join('\n');
}

/** Lines in one part of `renderParts`: about 100 kB. */
const PART_LINES = 500;

/** The same text in parts, each made when it is asked for. */
export function renderParts(steps: readonly Step[]): Generator<string> {
  return partsOf(linesOf(steps));
}

/**
 * The parts of one transaction that makes all of `objects` that are in `table`. Chains are declared while the objects are planned; rules follow, from
 * a second pass. (Declarations that stand among the rules cost iptables-legacy-restore a quarter more time.) The built-in chains jump to ours last.
 */
export function renderLoad(objects: () => Iterable<IptablesObject>, table: Table): Generator<string> {
  return partsOf(linesOfLoad(objects, table));
}

function* linesOfLoad(objects: () => Iterable<IptablesObject>, table: Table): Generator<string> {
  const jumps: string[] = [];
  yield `*${table}`;
  for (const object of objects()) if (object.table === table && object.kind !== 'rule') yield declaration(object.name);
  for (const object of objects()) {
    if (object.table !== table) continue;
    const lines = commandsOf({ object, isRemoval: false });
    if (object.kind === 'rule' && isBuiltIn(object.chain)) jumps.push(...lines);
    else yield* lines;
  }
  yield* jumps;
  yield 'COMMIT';
}

function* partsOf(lines: Iterable<string>): Generator<string> {
  let part: string[] = [];
  for (const line of lines) {
    part.push(line);
    if (part.length < PART_LINES) continue;
    yield `${part.join('\n')}\n`;
    part = [];
  }
  if (part.length > 0) yield `${part.join('\n')}\n`;
}

function* linesOf(steps: readonly Step[]): Generator<string> {
  for (let start = 0; start < steps.length; ) {
    const table = steps[start]?.object.table;
    let end = start;
    while (end < steps.length && steps[end]?.object.table === table) end += 1;
    const section = steps.slice(start, end);
    yield `*${table}`;
    for (const { object } of section) if (object.kind !== 'rule') yield declaration(object.name);
    for (const step of section) yield* commandsOf(step);
    yield 'COMMIT';
    start = end;
  }
}

/** How many lines a step takes, without making them. */
export function lineCount({ object, isRemoval }: Step): number {
  if (object.kind !== 'chain' || isRemoval) return 1;
  let count = 2;
  for (let at = object.rules.indexOf('\n'); at >= 0; at = object.rules.indexOf('\n', at + 1)) count += 1;
  return count;
}

function commandsOf({ object, isRemoval }: Omit<Step, 'key'>): string[] {
  // Only an empty chain can be deleted; its declaration, which comes first, empties it.
  if (object.kind !== 'rule' && isRemoval) return [`-X ${object.name}`];
  if (object.kind === 'dispatch') return [];
  if (object.kind === 'chain') {
    return object.rules === '' ? [] : object.rules.split('\n').map(rule => `-A ${object.name} ${rule}`);
  }
  // At the head, so that the jump to KUBE-NODEPORTS stays last and our jumps come before other programs' rules.
  const verb = isRemoval ? '-D' : isNodePortJump(object) ? '-A' : '-I';
  return [`${verb} ${object.chain} ${object.rule}`];
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
  if (object.kind === 'rule' && isBuiltIn(object.chain)) return RANK.jump;
  if (object.table === 'nat') return RANK.nat;
  return object.kind === 'rule' ? RANK.refuse : RANK.filterChain;
}

function removalRank(object: IptablesObject): number {
  if (object.kind === 'rule') {
    if (isBuiltIn(object.chain)) return RANK.removeJump;
    return object.table === 'filter' ? RANK.removeRefusal : RANK.removeEntry;
  }
  if (object.kind === 'dispatch') return RANK.removeDispatch;
  if (object.name.startsWith('KUBE-EXT-') || object.name.startsWith('KUBE-FW-')) return RANK.removeExternal;
  const isPolicy = object.name.startsWith('KUBE-SVC-') || object.name.startsWith('KUBE-SVL-');
  if (isPolicy) return RANK.removePolicy;
  return object.name.startsWith('KUBE-SEP-') ? RANK.removeEndpoint : RANK.removeShared;
}
