import { isDeepStrictEqual } from 'node:util';
import type { Backend } from '../backends/backend.ts';
import type { DumpFormat, ObjectText } from './format.ts';
import type { DumpRule } from './state.ts';

/** What is desired beside what is there, rule by rule. What has a position in the kernel is desired where it is. */
export function compareObjects<O>(
  planned: ReadonlyMap<string, O>,
  kernel: Pick<ReadonlyMap<string, O>, 'get'>,
  { dump: format, settle }: { readonly dump: DumpFormat<O> } & Pick<Backend<O>, 'settle'>,
): DumpRule[] {
  const rules: DumpRule[] = [];
  for (const [key, object] of planned) {
    const found = kernel.get(key);
    if (found === undefined) {
      rules.push(...listRules(object, 'missing', format));
      continue;
    }
    const wanted = settle === undefined ? object : settle(found, object);
    const isSame = isDeepStrictEqual(wanted, found);
    rules.push(...(isSame ? listRules(wanted, 'ok', format) : compareRules(wanted, found, format)));
  }
  return inPacketOrder(rules, format);
}

/** The rules of all objects, all in the same state. */
export function listAll<O>(objects: readonly O[], state: DumpRule['state'], format: DumpFormat<O>): DumpRule[] {
  return objects.flatMap(object => listRules(object, state, format));
}

/** The rules of an object, all in the same state. */
function listRules<O>(object: O, state: DumpRule['state'], { textsOf }: DumpFormat<O>): DumpRule[] {
  return textsOf(object).flatMap(({ table, chain, lines }) => lines.map(rule => ({ table, chain, rule, state })));
}

/** In the order in which a packet meets them; otherwise as given. */
export function inPacketOrder(rules: readonly DumpRule[], { rankOf }: Pick<DumpFormat<never>, 'rankOf'>): DumpRule[] {
  return rules.toSorted((a, b) => rankOf(a) - rankOf(b));
}

function compareRules<O>(wanted: O, found: O, { textsOf }: DumpFormat<O>): DumpRule[] {
  const [ours, theirs] = [byPlace(textsOf(wanted)), byPlace(textsOf(found))];
  const places = new Map([...ours, ...theirs]);
  return [...places].flatMap(([place, { table, chain }]) => {
    const lines = (texts: typeof ours) => texts.get(place)?.lines.filter(isSaying) ?? [];
    const compared = compareLines(lines(ours), lines(theirs));
    return compared.map(({ line, state }) => ({ table, chain, rule: line, state }));
  });
}

function byPlace(texts: readonly ObjectText[]): ReadonlyMap<string, ObjectText> {
  return new Map(texts.map(text => [`${text.table} ${text.chain}`, text]));
}

function isSaying(line: string): boolean {
  return line !== '';
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
