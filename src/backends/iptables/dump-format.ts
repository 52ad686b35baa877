/**
 * What a kernel's rules say about Services by themselves, whoever wrote them: us, or kube-proxy in iptables mode, whose chain
 * names and comments are the same.
 */
import type { DescribedService, DumpFormat, ObjectText } from '../../dump/format.ts';
import type { DumpAddress, DumpEndpoint, DumpRule } from '../../dump/state.ts';
import { CHAIN, isServiceChain } from './names.ts';
import type { IptablesObject } from './objects.ts';
import { groupByOwner } from './owners.ts';
import { jumpOf, parseEndpoint, parseRule, type RuleFields } from './rule-fields.ts';
import { jumpRules } from './rules.ts';

export const IPTABLES_DUMP: DumpFormat<IptablesObject> = {
  textsOf: object => [textOf(object)],
  rankOf,
  groupByOwner,
  describe,
  lost,
};

function textOf(object: IptablesObject): ObjectText {
  const { table } = object;
  switch (object.kind) {
    case 'rule':
      return { table, chain: object.chain, lines: [object.rule] };
    case 'dispatch':
      return { table, chain: object.name, lines: [''] };
    case 'chain':
      return { table, chain: object.name, lines: object.rules.split('\n') };
  }
}

const FIRST: readonly string[] = ['KUBE-EXT-', 'KUBE-FW-', 'KUBE-SVC-', 'KUBE-SVL-', 'KUBE-SEP-'];

/** Entries, then the chains of a Service from the outside in, then the endpoints, then refusals. */
function rankOf({ table, chain }: Pick<DumpRule, 'table' | 'chain'>): number {
  if (table === 'filter') return FIRST.length + 1;
  return isServiceChain(chain) ? 1 + FIRST.findIndex(prefix => chain.startsWith(prefix)) : 0;
}

function describe(rules: readonly DumpRule[]): DescribedService {
  const parsed = rules.map(rule => ({ ...rule, ...parseRule(rule.rule) }));
  const addresses = new Map<string, DumpAddress>();
  for (const rule of parsed) {
    const address = addressOf(rule);
    if (address === undefined) continue;
    const key = `${address.ip ?? ''} ${address.port}`;
    if (!addresses.has(key)) addresses.set(key, address);
  }
  const kinds: readonly string[] = ['clusterIP', 'nodePort', 'externalIP', 'loadBalancerIP'];
  return {
    addresses: [...addresses.values()].sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind)),
    internalTrafficPolicy: internalPolicy(parsed),
    externalTrafficPolicy: externalPolicy(parsed),
    endpoints: endpointsOf(parsed),
  };
}

type Rule = DumpRule & RuleFields;

/** The jumps that every proxy of this layout needs; without one, the Services' rules are never reached. */
function lost(shared: readonly DumpRule[]): DumpRule[] {
  const isSame = (a: DumpRule, b: DumpRule) =>
    a.table === b.table && a.chain === b.chain && jumpOf(a.rule) === jumpOf(b.rule);
  const wanted = jumpRules().flatMap(object => {
    const { table, chain, lines } = textOf(object);
    return lines.map(rule => ({ table, chain, rule, state: 'missing' }) as const);
  });
  return wanted.filter(jump => !shared.some(rule => isSame(rule, jump)));
}

/** The address that an entry or a refusal is about. */
function addressOf({ table, chain, comment, destination, destinationPort: port }: Rule): DumpAddress | undefined {
  if (port === 0) return undefined;
  // In filter, the port where load balancers ask for a Service's health: not the Service's own.
  if (chain === CHAIN.nodePorts) return table === 'nat' ? { kind: 'nodePort', port } : undefined;
  if (chain === CHAIN.externalServices) {
    // A refusal doesn't say which kind of external address it's for.
    return destination === '' ? { kind: 'nodePort', port } : { kind: 'externalIP', ip: destination, port };
  }
  if (chain !== CHAIN.services || destination === '') return undefined;
  if (table === 'filter' || comment.endsWith(' cluster IP')) return { kind: 'clusterIP', ip: destination, port };
  const kind = comment.endsWith(' loadbalancer IP') ? 'loadBalancerIP' : 'externalIP';
  return { kind, ip: destination, port };
}

const isRefusal = ({ table, comment }: Rule, why: string) => table === 'filter' && comment.endsWith(why);

function internalPolicy(rules: readonly Rule[]): DescribedService['internalTrafficPolicy'] {
  const entry = rules.find(rule => rule.chain === CHAIN.services && rule.comment.endsWith(' cluster IP'));
  if (entry?.jump.startsWith('KUBE-SVL-')) return 'Local';
  if (entry?.jump.startsWith('KUBE-SVC-')) return 'Cluster';
  return rules.some(rule => rule.chain === CHAIN.services && isRefusal(rule, 'has no local endpoints'))
    ? 'Local'
    : null;
}

function externalPolicy(rules: readonly Rule[]): DescribedService['externalTrafficPolicy'] {
  const inside = rules.filter(rule => rule.chain.startsWith('KUBE-EXT-'));
  if (inside.some(rule => rule.comment.startsWith('masquerade traffic for '))) return 'Cluster';
  if (inside.some(rule => rule.jump.startsWith('KUBE-SVL-') || rule.comment.includes(' LOCAL traffic for '))) {
    return 'Local';
  }
  const refused = rules.filter(rule => rule.chain === CHAIN.externalServices);
  return refused.some(rule => isRefusal(rule, 'has no local endpoints')) ? 'Local' : null;
}

/** The endpoints of the chains, in the chains' order; those that no rule sends to come last. */
function endpointsOf(rules: readonly Rule[]): DumpEndpoint[] {
  const targets = new Map(
    rules.filter(rule => rule.toDestination !== '').map(rule => [rule.chain, rule.toDestination]),
  );
  const chosen = rules.filter(rule => rule.jump.startsWith('KUBE-SEP-'));
  const local = new Set(chosen.filter(rule => rule.chain.startsWith('KUBE-SVL-')).map(rule => rule.jump));
  const endpoints = new Map<string, DumpEndpoint>();
  const add = (chain: string, text: string, used: boolean) => {
    const address = parseEndpoint(text);
    if (address === undefined || endpoints.has(chain)) return;
    const unknown = { ready: null, serving: null, terminating: null };
    endpoints.set(chain, { ...address, ...unknown, local: local.has(chain) ? true : null, used });
  };
  for (const { jump, comment } of chosen) {
    const target = targets.get(jump);
    add(jump, target ?? comment.replace(/^.* -> /, ''), target !== undefined);
  }
  for (const [chain, target] of targets) add(chain, target, false);
  return [...endpoints.values()];
}
