/** Whether a kernel can do all that the nftables mode asks of it: tried, not looked up by version. */
import { MAGLEV_SLOTS } from '../../endpoints/maglev.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import type { IPFamily } from '../../net/ip.ts';
import { MessageWriter } from '../../netfilter/attributes.ts';
import { type BaseChain, BatchWriter } from '../../netfilter/messages.ts';
import { learningChains, learnRules } from './affinity.ts';
import { affinityRules, choiceRules, guardRules, localRules } from './choices.ts';
import { errnoText, NOT_OF_AN_OBJECT } from './errno.ts';
import type { ChainObject, PlannedRule, SetObject } from './objects.ts';
import type { NftablesOptions } from './options.ts';
import { layoutOf } from './packet.ts';
import { affinitySet, memberSet, sharedSets } from './sets.ts';
import { planShared } from './shared-rules.ts';

/** Of the trials; gone with each of them. */
const TRIAL_TABLE = 'kproxy-ts-trial';

interface Trial {
  /** For the operator, when it fails. */
  readonly feature: string;
  readonly chain: ChainObject;
}

/**
 * What the kernel lacks in a family, for the operator; undefined = nothing. Every kind of rule is committed once to a table of its own, in batches that also
 * delete it. Rejects when the kernel can't be asked for another reason than that it has no nf_tables.
 */
export async function missingFeature(kernel: NftKernel, family: IPFamily): Promise<string | undefined> {
  try {
    const table = await refusalOf(kernel, family, []);
    if (table !== undefined) return `nf_tables takes no table of the family: ${table}`;
    const trials = trialsOf(family);
    const together = await refusalOf(kernel, family, trials);
    if (together === undefined) return undefined;
    for (const trial of trials) {
      const refusal = await refusalOf(kernel, family, [trial]);
      if (refusal !== undefined) return `the kernel lacks ${trial.feature}: ${refusal}`;
    }
    return `the kernel refuses the rules together, though it takes each of them: ${together}`;
  } catch (error) {
    if (error instanceof NetlinkError) return `nf_tables cannot be used: ${error.message}`;
    throw error;
  }
}

/**
 * Commits the chains with all sets, and their deletion. Resolves to why the kernel refuses, undefined = it doesn't.
 * @throws NetlinkError where that says nothing about what it can do.
 */
async function refusalOf(kernel: NftKernel, family: IPFamily, trials: readonly Trial[]): Promise<string | undefined> {
  const out = new MessageWriter();
  const batch = new BatchWriter(out, { family: layoutOf(family).protocol, table: TRIAL_TABLE, sequence: 0 });
  batch.beginBatch();
  batch.newTable();
  const sets = trials.length === 0 ? [] : setsOf(family);
  for (const [index, { spec }] of sets.entries()) batch.newSet(spec, index + 1);
  const targets = new Set(trials.flatMap(({ chain }) => chain.rules.flatMap(targetsOf)));
  for (const { chain } of trials) targets.delete(chain.name);
  for (const name of targets) batch.newChain(name);
  for (const { chain } of trials) batch.newChain(chain.name, chain.base);
  for (const { chain } of trials) for (const rule of chain.rules) batch.newRule(chain.name, rule);
  batch.delTable();
  batch.endBatch();
  const [refusal] = await kernel.commit(out.bytes());
  if (refusal === undefined) return undefined;
  const why = errnoText(refusal.errno);
  if (NOT_OF_AN_OBJECT.has(refusal.errno)) throw new NetlinkError('nf_tables', refusal.errno, why);
  return why;
}

function targetsOf({ expressions }: PlannedRule): string[] {
  return expressions.flatMap(expression => {
    if (expression.name !== 'immediate' || expression.data instanceof Uint8Array) return [];
    return expression.data.chain === undefined ? [] : [expression.data.chain];
  });
}

const MAP = 'affinity-trial';
const MEMBERS = 'members-trial';

function setsOf(family: IPFamily): readonly SetObject[] {
  const layout = layoutOf(family);
  return [...sharedSets(layout), affinitySet(MAP, 'trial', layout), memberSet(MEMBERS, 'trial', layout)];
}

function trialsOf(family: IPFamily): Trial[] {
  const layout = layoutOf(family);
  const cidr = family === 'IPv4' ? '10.0.0.0/8' : 'fd00::/8';
  const options: NftablesOptions = {
    family,
    masqueradeAll: false,
    localDetector: { kind: 'source', cidr },
    nodePortAddresses: 'all',
    dropsInvalid: true,
    serviceCIDRs: [cidr],
  };
  const chosen = { isNodePort: true, isInside: false };
  const base: BaseChain = { type: 'nat', hook: 0, priority: -100 };
  const trial = (feature: string, rules: readonly PlannedRule[]): Trial => {
    return { feature, chain: { kind: 'chain', name: `trial-${feature.replaceAll(/\W+/g, '-')}`, base, rules } };
  };
  const planned = [...planShared(options).values(), ...learningChains(family)];
  const shared = planned.filter(object => object.kind === 'chain');
  return [
    ...shared.map(chain => ({ feature: `what the chain ${chain.name} is made of`, chain })),
    trial('DNAT to an element of a map, chosen by numgen', choiceRules({ ...chosen, slots: 3 }, layout)),
    trial(`jhash over ${MAGLEV_SLOTS} slots`, choiceRules({ ...chosen, slots: 'hash' }, layout)),
    trial('sets of addresses with ranges in concatenations', guardRules('then', { isNodePort: false, layout })),
    trial('fib address types', localRules('then', { isNodePort: false, options })),
    trial('DNAT to an element that rules write', affinityRules(MAP, 'then', layout)),
    {
      feature: 'maps that rules write',
      chain: {
        kind: 'chain',
        name: 'trial-learn',
        rules: learnRules({ map: MAP, members: MEMBERS, seconds: 1 }, layout),
      },
    },
  ];
}
