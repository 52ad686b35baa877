import { isServiceChain } from '../backends/iptables/names.ts';
import type { IptablesObject } from '../backends/iptables/objects.ts';
import type { DumpRule } from './state.ts';

/** What is desired beside what is there, rule by rule. */
export function compareObjects(
  planned: ReadonlyMap<string, IptablesObject>,
  kernel: Pick<ReadonlyMap<string, IptablesObject>, 'get'>,
): DumpRule[] {
  const rules: DumpRule[] = [];
  for (const [key, object] of planned) {
    const found = kernel.get(key);
    if (found === undefined) rules.push(...listRules(object, 'missing'));
    else if (object.kind === 'chain' && found.kind === 'chain' && object.rules !== found.rules) {
      rules.push(...compareChains(object, found.rules));
    } else rules.push(...listRules(object, 'ok'));
  }
  return inPacketOrder(rules);
}

/** The rules of all objects, all in the same state. */
export function listAll(objects: readonly IptablesObject[], state: DumpRule['state']): DumpRule[] {
  return objects.flatMap(object => listRules(object, state));
}

/** The rules of an object, all in the same state. */
function listRules(object: IptablesObject, state: DumpRule['state']): DumpRule[] {
  const { table } = object;
  switch (object.kind) {
    case 'rule':
      return [{ table, chain: object.chain, rule: object.rule, state }];
    case 'dispatch':
      return [{ table, chain: object.name, rule: '', state }];
    case 'chain':
      return object.rules.split('\n').map(rule => ({ table, chain: object.name, rule, state }));
  }
}

const FIRST: readonly string[] = ['KUBE-EXT-', 'KUBE-FW-', 'KUBE-SVC-', 'KUBE-SVL-', 'KUBE-SEP-'];

/** Entries, then the chains of a Service from the outside in, then the endpoints, then refusals; otherwise as given. */
export function inPacketOrder(rules: readonly DumpRule[]): DumpRule[] {
  const rank = ({ table, chain }: DumpRule) => {
    if (table === 'filter') return FIRST.length + 1;
    return isServiceChain(chain) ? 1 + FIRST.findIndex(prefix => chain.startsWith(prefix)) : 0;
  };
  return rules.toSorted((a, b) => rank(a) - rank(b));
}

function compareChains(wanted: Extract<IptablesObject, { kind: 'chain' }>, found: string): DumpRule[] {
  const { table, name: chain } = wanted;
  const lines = compareLines(linesOf(wanted.rules), linesOf(found));
  return lines.map(({ line, state }) => ({ table, chain, rule: line, state }));
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.split('\n');
}

interface ComparedLine {
  readonly line: string;
  readonly state: 'ok' | 'missing' | 'unexpected';
}

/** The wanted lines in their order, with what was found between them. Order counts: a line at the wrong place is unexpected there and missing here. */
export function compareLines(wanted: readonly string[], found: readonly string[]): ComparedLine[] {
  const places = new Map<string, number[]>();
  found.forEach((line, index) => {
    places.set(line, [...(places.get(line) ?? []), index]);
  });
  const matches = wanted.map(line => places.get(line)?.shift());
  const kept = longestIncrease(matches);
  const compared: ComparedLine[] = [];
  let next = 0;
  const foundUpTo = (end: number) => {
    for (; next < end; next += 1) compared.push({ line: found[next] ?? '', state: 'unexpected' });
  };
  wanted.forEach((line, index) => {
    const place = kept.get(index);
    if (place === undefined) {
      compared.push({ line, state: 'missing' });
      return;
    }
    foundUpTo(place);
    compared.push({ line, state: 'ok' });
    next = place + 1;
  });
  foundUpTo(found.length);
  return compared;
}

/** The longest run of matches that keeps the order, index → place: patience sorting, so that chains of thousands of rules stay cheap. */
function longestIncrease(places: readonly (number | undefined)[]): ReadonlyMap<number, number> {
  const tails: { index: number; place: number }[] = [];
  const before = new Map<number, number>();
  places.forEach((place, index) => {
    if (place === undefined) return;
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((tails[middle]?.place ?? 0) < place) low = middle + 1;
      else high = middle;
    }
    const previous = tails[low - 1];
    if (previous !== undefined) before.set(index, previous.index);
    tails[low] = { index, place };
  });
  const kept = new Map<number, number>();
  for (let index = tails.at(-1)?.index; index !== undefined; index = before.get(index)) {
    kept.set(index, places[index] ?? 0);
  }
  return kept;
}
