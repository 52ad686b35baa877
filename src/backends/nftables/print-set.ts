/** Sets, their elements and chains as nft prints them, for people. Pure. */

import { addressText } from '../../net/address-bytes.ts';
import type { IPFamily } from '../../net/ip.ts';
import { readHostWord } from '../../netfilter/attributes.ts';
import type { Verdict } from '../../netfilter/expressions.ts';
import { type BaseChain, type Field, registerBytes, SET, type SetSpec, TYPE } from '../../netfilter/messages.ts';
import type { SetElement } from './elements.ts';
import { isMembersSet } from './names.ts';
import { layoutOf } from './packet.ts';
import { verdictText } from './print.ts';
import { protocolText, quoted } from './print-values.ts';
import { memberSet, sharedSets } from './sets.ts';
import { rangeText } from './source-ranges.ts';

/** The types of nft by our numbers. */
const TYPES: Readonly<Record<number, string>> = {
  [TYPE.ipv4]: 'ipv4_addr',
  [TYPE.ipv6]: 'ipv6_addr',
  [TYPE.protocol]: 'inet_proto',
  [TYPE.port]: 'inet_service',
  [TYPE.mark]: 'mark',
};
/** In nft's order. A map of intervals is what it is by its type; concatenation is part of that, too. */
const FLAGS: readonly (readonly [number, string])[] = [
  [SET.interval, 'interval'],
  [SET.dynamic, 'dynamic'],
  [SET.timeout, 'timeout'],
];

/** What a set or map is, a line for each thing that `nft list set` says before the elements. */
export function setLines({ flags, key, value, comment, size }: SetSpec): string[] {
  const words = FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, word]) => word);
  const data = value === undefined ? '' : ` : ${value === 'verdict' ? 'verdict' : typeText(value)}`;
  return [
    `type ${typeText(key)}${data}`,
    ...(size === undefined ? [] : [`size ${size}`]),
    ...(words.length === 0 ? [] : [`flags ${words.join(',')}`]),
    ...(comment === undefined ? [] : [`comment ${quoted(comment)}`]),
  ];
}

function typeText(fields: readonly Field[]): string {
  return fields.map(({ type }) => TYPES[type] ?? `type ${type}`).join(' . ');
}

/** enum nf_inet_hooks */
const HOOKS = ['prerouting', 'input', 'forward', 'output', 'postrouting'] as const;
/** Of those that nft has names for: where each is called so. */
const PRIORITIES: Readonly<Record<number, readonly [name: string, hooks: readonly string[]]>> = {
  [-100]: ['dstnat', ['prerouting']],
  0: ['filter', HOOKS],
  100: ['srcnat', ['postrouting']],
};

/** How far from such a priority nft still names it. */
const NEAR = 10;

/** What a chain at a hook is. All of ours accept what no rule decides. */
export function baseLine({ type, hook, priority }: BaseChain): string {
  const place = HOOKS[hook] ?? String(hook);
  const base = Object.keys(PRIORITIES)
    .map(Number)
    .find(known => Math.abs(priority - known) <= NEAR);
  const [name, hooks] = PRIORITIES[base ?? 0] ?? ['', []];
  const away = priority - (base ?? 0);
  const offset = away === 0 ? '' : ` ${away < 0 ? '-' : '+'} ${Math.abs(away)}`;
  const when = base !== undefined && hooks.includes(place) ? `${name}${offset}` : String(priority);
  return `type ${type} hook ${place} priority ${when}; policy accept;`;
}

export type ElementPrinter = (element: SetElement) => string;

/** Prints elements of a family's sets: key, comment, and what it leads to. */
export function elementPrinter(family: IPFamily): ElementPrinter {
  const layout = layoutOf(family);
  const known = new Map(sharedSets(layout).map(({ spec }) => [spec.name, spec]));
  const members = memberSet('', '', layout).spec;
  return element => {
    const spec = known.get(element.set) ?? (isMembersSet(element.set) ? members : undefined);
    return elementText(element, spec);
  };
}

/** Of a set that isn't ours only the bytes are known. */
function elementText({ key, keyEnd, data, comment }: SetElement, spec: SetSpec | undefined): string {
  const told = comment === undefined ? '' : ` comment ${quoted(comment)}`;
  const to = data === undefined ? '' : ` : ${dataText(data, spec)}`;
  return `${fieldsText(key, keyEnd, spec?.key)}${told}${to}`;
}

function dataText(data: Buffer | Verdict, spec: SetSpec | undefined): string {
  if (!(data instanceof Uint8Array)) return verdictText(data);
  return fieldsText(data, undefined, spec?.value === 'verdict' ? undefined : spec?.value);
}

function fieldsText(bytes: Buffer, end: Buffer | undefined, fields: readonly Field[] | undefined): string {
  if (fields === undefined || registerBytes(fields) !== bytes.length) return `0x${bytes.toString('hex')}`;
  const texts: string[] = [];
  let at = 0;
  for (const field of fields) {
    const value = bytes.subarray(at, at + field.bytes);
    texts.push(
      end === undefined ? valueText(value, field.type) : rangeOf(value, end.subarray(at, at + field.bytes), field.type),
    );
    at += registerBytes([field]);
  }
  return texts.join(' . ');
}

function rangeOf(first: Buffer, last: Buffer, type: number): string {
  const text = valueText(first, type);
  if (first.equals(last)) return text;
  const isAddress = type === TYPE.ipv4 || type === TYPE.ipv6;
  return (isAddress ? rangeText(first, last) : undefined) ?? `${text}-${valueText(last, type)}`;
}

function valueText(bytes: Buffer, type: number): string {
  switch (type) {
    case TYPE.ipv4:
    case TYPE.ipv6:
      return addressText(bytes);
    case TYPE.protocol:
      return protocolText(bytes[0] ?? 0);
    case TYPE.port:
      return String(bytes.readUInt16BE(0));
    case TYPE.mark:
      return `0x${readHostWord(bytes).toString(16).padStart(8, '0')}`;
    default:
      return `0x${bytes.toString('hex')}`;
  }
}
