/** The dump for people: a line per Service port, like kubectl's. */
import { endpointText } from '../endpoints/types.ts';
import { renderTable } from '../text/table.ts';
import { paint, rulesColour } from './colour.ts';
import { describeServices, renderRules } from './detail.ts';
import {
  type DumpAddress,
  type DumpEndpoint,
  type DumpFamily,
  type DumpRules,
  type DumpServicePort,
  type DumpState,
  serviceText,
} from './state.ts';

export interface TableOptions {
  /** Every address, endpoint and rule of each Service instead of a line. */
  readonly isDetailed: boolean;
  readonly hasColours: boolean;
}

/** How many endpoints or addresses a line has room for. */
const LISTED = 3;

/** The whole text, with a line end. */
export function renderDump(state: DumpState, { isDetailed, hasColours }: TableOptions): string {
  if (isDetailed) return describeServices(state, hasColours);
  const services = state.families.flatMap(({ services }) => services);
  const rows = services.map(service => [
    ...describe(service),
    paint(rulesText(service), rulesColour(service), hasColours),
  ]);
  const shared = state.families.map(family => sharedRow(state, family, hasColours));
  const table = renderTable([['SERVICE', 'PROTO', 'ADDRESSES', 'ENDPOINTS', 'RULES'], ...rows, ...shared]);
  return table + notes(state, hasColours);
}

function describe(service: DumpServicePort): string[] {
  const addresses = service.addresses.map(addressText);
  return [serviceText(service), service.protocol, listText(addresses), endpointsText(service.endpoints)];
}

function sharedRow({ families }: DumpState, { family, shared }: DumpFamily, hasColours: boolean): string[] {
  const name = families.length > 1 ? `(shared, ${family})` : '(shared)';
  return [name, '-', '-', '-', paint(rulesText(shared), rulesColour(shared), hasColours)];
}

/** `10.0.0.1:80`, `[fd00::1]:80`, and `*:30080` for a node port. */
function addressText({ ip, port }: DumpAddress): string {
  return ip === undefined ? `*:${port}` : endpointText({ ip, port });
}

/** `2/3 ready`, and how many are used where that is another number; the addresses where conditions aren't known. */
function endpointsText(endpoints: readonly DumpEndpoint[]): string {
  if (endpoints.length === 0) return '<none>';
  if (endpoints.some(({ ready }) => ready === null)) return listText(endpoints.map(endpointText));
  const ready = endpoints.filter(endpoint => endpoint.ready).length;
  const used = endpoints.filter(endpoint => endpoint.used).length;
  return `${ready}/${endpoints.length} ready${used === ready ? '' : `, ${used} used`}`;
}

function listText(items: readonly string[]): string {
  if (items.length === 0) return '<none>';
  const more = items.length - LISTED;
  return more > 0 ? `${items.slice(0, LISTED).join(',')} + ${more} more...` : items.join(',');
}

/** `ok`, or what isn't; how many there are where nothing is known to be desired. */
export function rulesText({ rules, state }: DumpRules): string {
  if (state === 'ok') return 'ok';
  if (rules.length === 0) return '<none>';
  const count = (wanted: string) => rules.filter(rule => rule.state === wanted).length;
  if (state === 'unchecked') return `${rules.length} there`;
  const missing = count('missing');
  const unexpected = count('unexpected');
  const parts = [
    ...(missing > 0 ? [`${state === 'missing' ? 'all ' : ''}${missing} missing`] : []),
    ...(unexpected > 0 ? [`${unexpected} unexpected`] : []),
  ];
  return parts.join(', ');
}

/** What a line has no room for. */
function notes({ source, mode, families, contested }: DumpState, hasColours: boolean): string {
  const lines: string[] = [];
  for (const { family, comparison, shared } of families) {
    if (comparison === 'moving') lines.push(`${family}: rules were changing meanwhile; a difference may be on its way`);
    if (comparison === 'none' && source === 'daemon') {
      lines.push(`${family}: the daemon waits for its first complete list; showing what the kernel has`);
    }
    const wrong = shared.rules.filter(({ state }) => state === 'missing' || state === 'unexpected');
    if (wrong.length > 0)
      lines.push(`${family}, rules that no Service owns:\n${renderRules(wrong, { mode, hasColours })}`.trimEnd());
  }
  lines.push(...contested);
  return lines.length === 0 ? '' : `\n${lines.join('\n')}\n`;
}
