import { ownText } from '../../text/own-text.ts';
import { CHAIN, isServiceChain } from './names.ts';
import { type IptablesObject, objectKey, type Table } from './objects.ts';
import { isDispatchChain } from './rules.ts';

/** Chains that are ours as a whole, beside those of Services and endpoints. */
const WHOLE: Readonly<Record<Table, readonly string[]>> = {
  nat: [CHAIN.postrouting, CHAIN.markMasq],
  filter: [CHAIN.forward, CHAIN.localnet],
};

/** Targets by which a rule of a foreign or built-in chain is recognised as ours. */
const JUMP_TARGETS: ReadonlySet<string> = new Set([
  CHAIN.services,
  CHAIN.externalServices,
  CHAIN.postrouting,
  CHAIN.forward,
  CHAIN.proxyFirewall,
  CHAIN.nodePorts,
  CHAIN.localnet,
]);

const BUILT_IN: ReadonlySet<string> = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

/**
 * Our objects in one table of iptables-save's output; everything else in it belongs to others and is left out. The texts are
 * copies: a part of the output would keep all of it in memory.
 */
export function parse(text: string, table: Table): ReadonlyMap<string, IptablesObject> {
  const objects: IptablesObject[] = [];
  const rules = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    if (line.startsWith(':')) {
      const name = ownText(line.slice(1, line.indexOf(' ')));
      if (isDispatchChain(table, name)) objects.push({ kind: 'dispatch', table, name });
      else if (isWhole(table, name)) rules.set(name, []);
      continue;
    }
    if (!line.startsWith('-A ')) continue;
    const space = line.indexOf(' ', 3);
    const chain = line.slice(3, space);
    const rule = line.slice(space + 1);
    const whole = rules.get(chain);
    if (whole !== undefined) whole.push(rule);
    else if (isDispatchChain(table, chain) || isOurJump(chain, rule)) {
      objects.push({ kind: 'rule', table, chain: ownText(chain), rule: ownText(rule) });
    }
  }
  for (const [name, lines] of rules) {
    objects.push({ kind: 'chain', table, name, rules: ownText(lines.join('\n')) });
  }
  return distinct(objects);
}

/** Chains of others whose rules jump to a chain of ours, in one table of iptables-save's output. */
export function othersThatUse(name: string, text: string, table: Table): string[] {
  const found = new Set<string>();
  for (const line of text.split('\n')) {
    if (!line.startsWith('-A ') || !line.endsWith(` -j ${name}`)) continue;
    const chain = line.slice(3, line.indexOf(' ', 3));
    if (!isWhole(table, chain) && !isDispatchChain(table, chain)) found.add(ownText(chain));
  }
  return [...found];
}

/**
 * Objects by key. A rule that is there twice, or in the wrong place, gets a key that no Plan wants, so that it goes (and comes
 * again in its place).
 */
function distinct(objects: readonly IptablesObject[]): ReadonlyMap<string, IptablesObject> {
  const map = new Map<string, IptablesObject>();
  const misplaced = misplacedJumps(objects);
  for (const object of objects) {
    let key = objectKey(object);
    if (misplaced.has(object)) key += ' (not last)';
    while (map.has(key)) key += ' (again)';
    map.set(key, object);
  }
  return map;
}

/** Jumps to KUBE-NODEPORTS before other rules of KUBE-SERVICES: a NodePort would take what is addressed to a Service. */
function misplacedJumps(objects: readonly IptablesObject[]): ReadonlySet<IptablesObject> {
  const misplaced = new Set<IptablesObject>();
  let hasEntryAfter = false;
  for (const object of objects.toReversed()) {
    if (object.kind !== 'rule' || object.table !== 'nat' || object.chain !== CHAIN.services) continue;
    const isJump = object.rule.endsWith(`-j ${CHAIN.nodePorts}`);
    if (isJump && hasEntryAfter) misplaced.add(object);
    hasEntryAfter ||= !isJump;
  }
  return misplaced;
}

/** Whether a chain is ours and not of one Service port or endpoint. */
export function isSharedChain(table: Table, name: string): boolean {
  return WHOLE[table].includes(name) || isDispatchChain(table, name);
}

function isWhole(table: Table, name: string): boolean {
  return WHOLE[table].includes(name) || (table === 'nat' && isServiceChain(name));
}

function isOurJump(chain: string, rule: string): boolean {
  return BUILT_IN.has(chain) && JUMP_TARGETS.has(rule.slice(rule.lastIndexOf(' ') + 1));
}
