/** How the objects of our table are shown: rules and elements as nft prints them, in the order in which a packet meets them. Pure. */
import type { DumpFormat, ObjectText } from '../../dump/format.ts';
import type { DumpRule } from '../../dump/state.ts';
import type { IPFamily } from '../../net/ip.ts';
import { describe } from './describe.ts';
import { elementsOf } from './elements.ts';
import { CHAINS, isPlannedTogether, SETS, TABLE } from './names.ts';
import type { NftObject } from './objects.ts';
import { groupByOwner } from './owners.ts';
import { printRule } from './print.ts';
import { baseLine, type ElementPrinter, elementPrinter, setLines } from './print-set.ts';
import { planShared } from './shared-rules.ts';

/** The family says how what is the same object in both is written: any address, a refusal. */
export function nftablesDump(family: IPFamily): DumpFormat<NftObject> {
  const print = elementPrinter(family);
  const textsOf = (object: NftObject) => textsIn(object, family, print);
  return { textsOf, rankOf, groupByOwner, describe, isLeftOver, lost: shared => lost(shared, family, textsOf) };
}

function textsIn(object: NftObject, family: IPFamily, print: ElementPrinter): ObjectText[] {
  switch (object.kind) {
    case 'table':
      // One that is awake shows by what is in it.
      return object.isDormant ? [{ table: TABLE, chain: '', lines: ['flags dormant'] }] : [];
    case 'chain': {
      const { name, base, rules } = object;
      const lines = [...(base === undefined ? [] : [baseLine(base)]), ...rules.map(rule => printRule(rule, family))];
      return [{ table: TABLE, chain: name, lines: lines.length === 0 ? [''] : lines }];
    }
    case 'set':
      return [{ table: TABLE, chain: object.spec.name, lines: setLines(object.spec) }];
    default:
      return elementTexts(object, family, print);
  }
}

/** A text for each set that has elements of the object. */
function elementTexts(object: NftObject, family: IPFamily, print: ElementPrinter): ObjectText[] {
  const bySet = new Map<string, string[]>();
  for (const element of elementsOf(object, family)) {
    const lines = bySet.get(element.set);
    if (lines === undefined) bySet.set(element.set, [print(element)]);
    else lines.push(print(element));
  }
  return [...bySet].map(([chain, lines]) => ({ table: TABLE, chain, lines }));
}

/** Chains and sets; a text that ends in `-` stands for all whose names begin so. */
const ORDER = [
  CHAINS.natPrerouting,
  CHAINS.natOutput,
  CHAINS.services,
  CHAINS.nodePorts,
  SETS.services,
  'guard-',
  SETS.allowed,
  'local-',
  SETS.inside,
  'affinity-',
  'lb-',
  'node-',
  'hash',
  'hash-',
  SETS.endpoints,
  CHAINS.filterInput,
  CHAINS.filterForward,
  CHAINS.filterOutput,
  CHAINS.check,
  CHAINS.checkRouted,
  CHAINS.checkNodePorts,
  CHAINS.rememberInput,
  CHAINS.rememberForward,
  CHAINS.rememberOutput,
  CHAINS.learn,
  SETS.learners,
  'learn-',
  'members-',
  SETS.refused,
  SETS.clusterIPs,
  CHAINS.refuse,
  CHAINS.guardedRefusal,
  CHAINS.drop,
  CHAINS.natPostrouting,
  SETS.hairpins,
  SETS.external,
  CHAINS.sourceOfClusterIP,
  CHAINS.sourceOfNodePort,
  CHAINS.sourceOfPolicyLocal,
  CHAINS.masquerade,
];
const PLACES = new Map(ORDER.map((name, index) => [name, index]));
const PREFIXES = ORDER.filter(name => name.endsWith('-'));

function rankOf({ chain }: Pick<DumpRule, 'chain'>): number {
  const exact = PLACES.get(chain);
  if (exact !== undefined) return exact;
  const prefix = PREFIXES.find(start => chain.startsWith(start));
  return PLACES.get(prefix ?? '') ?? ORDER.length;
}

/** Chains of a number of endpoints that no Service has now, or of session affinity, when none asks for it. */
function isLeftOver(object: NftObject): boolean {
  return object.kind === 'chain' && isPlannedTogether(object.name);
}

/** Without these no packet finds its Service, whatever the options are. */
const WAY_IN: readonly string[] = [CHAINS.natPrerouting, CHAINS.natOutput, CHAINS.services];

/** The way from the hooks to the map of Services. One of two rules that say the same is enough. */
function lost(
  shared: readonly DumpRule[],
  family: IPFamily,
  textsOf: DumpFormat<NftObject>['textsOf'],
): readonly DumpRule[] {
  const placeOf = ({ chain, rule }: Pick<DumpRule, 'chain' | 'rule'>) =>
    `${chain} ${rule.replace(/ comment ".*"$/, '')}`;
  const known = new Set(shared.map(placeOf));
  const options = {
    family,
    masqueradeAll: false,
    localDetector: { kind: 'none' },
    nodePortAddresses: [],
    dropsInvalid: false,
    serviceCIDRs: [],
  } as const;
  const wanted = [...planShared(options).values()]
    .flatMap(textsOf)
    .filter(({ chain }) => WAY_IN.includes(chain))
    .flatMap(({ table, chain, lines }) => lines.map(rule => ({ table, chain, rule, state: 'missing' }) as const));
  return wanted.filter(rule => !known.has(placeOf(rule)));
}
