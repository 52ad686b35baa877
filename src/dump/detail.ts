/** One Service port with everything that is known of it, for people. */
import { endpointText } from '../endpoints/types.ts';
import { renderTable } from '../text/table.ts';
import { paint, ruleColour } from './colour.ts';
import {
  type DumpAddress,
  type DumpEndpoint,
  type DumpRule,
  type DumpServicePort,
  type DumpState,
  serviceText,
} from './state.ts';

/** A block per Service port, with a blank line between. */
export function describeServices({ families, mode }: DumpState, hasColours: boolean): string {
  const blocks = families.flatMap(({ family, services }) =>
    services.map(
      service =>
        paint(`${serviceText(service)} ${service.protocol} (${family})`, 'bold', hasColours) +
        '\n' +
        describeService(service, { mode, hasColours }),
    ),
  );
  return blocks.join('\n');
}

function describeService(service: DumpServicePort, style: RuleStyle): string {
  return [
    section('Addresses', service.addresses.map(addressRow)),
    section('Policies', [
      ['internalTrafficPolicy', service.internalTrafficPolicy ?? 'unknown'],
      ['externalTrafficPolicy', service.externalTrafficPolicy ?? 'unknown'],
    ]),
    section('Endpoints', endpointRows(service.endpoints)),
    `  Rules${verdict(service)}\n${renderRules(service.rules, style)}`,
  ].join('');
}

function section(title: string, rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return `  ${title}: <none>\n`;
  return `  ${title}\n${indent(renderTable(rows))}`;
}

function addressRow({ kind, ip, port }: DumpAddress): string[] {
  if (ip === undefined) return [kind, String(port)];
  return [kind, endpointText({ ip, port })];
}

function endpointRows(endpoints: readonly DumpEndpoint[]): string[][] {
  if (endpoints.length === 0) return [];
  const word = (value: boolean | null) => (value === null ? '?' : value ? 'yes' : 'no');
  const rows = endpoints.map(({ ip, port, ready, serving, terminating, local, used }) => [
    endpointText({ ip, port }),
    ...[ready, serving, terminating, local, used].map(word),
  ]);
  return [['ADDRESS', 'READY', 'SERVING', 'TERMINATING', 'LOCAL', 'USED'], ...rows];
}

function verdict({ rules, state }: DumpServicePort): string {
  if (rules.length === 0) return ': <none>';
  const texts = {
    ok: ', all there',
    missing: ', none of them there',
    differs: ', not as they should be',
    unchecked: ' in the kernel',
  };
  return texts[state];
}

export interface RuleStyle {
  /** As in DumpState. */
  readonly mode: string;
  readonly hasColours: boolean;
}

/** A line per rule, marked where it isn't as it should be; with a line end. '' when there are none. */
export function renderRules(rules: readonly DumpRule[], { mode, hasColours }: RuleStyle): string {
  const mark = (state: DumpRule['state']) => (state === 'missing' || state === 'unexpected' ? state : '');
  const isMarked = rules.some(({ state }) => mark(state) !== '');
  const columns = mode === 'nftables' ? nftablesColumns : iptablesColumns;
  const rows = rules.map(rule => [...(isMarked ? [mark(rule.state)] : []), ...columns(rule)]);
  const lines = indent(renderTable(rows)).split('\n');
  return lines.map((line, index) => paint(line, ruleColour(rules[index]?.state ?? 'ok'), hasColours)).join('\n');
}

/** What can be given to iptables. */
function iptablesColumns({ table, chain, rule }: DumpRule): string[] {
  return [table, rule === '' ? `chain ${chain}` : `-A ${chain} ${rule}`];
}

/** There is one table; the chain, set or map comes first. */
function nftablesColumns({ chain, rule }: DumpRule): string[] {
  return [chain, rule === '' ? '(no rules)' : rule];
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '    ');
}
