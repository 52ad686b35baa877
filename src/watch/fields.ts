import { parseCIDR } from '../net/cidr.ts';
import { canonicalIP, isLoopback, isMulticast, isUnspecified } from '../net/ip.ts';
import { ownText } from '../text/own-text.ts';
import type { Problem, Protocol } from './objects.ts';

/**
 * Reading foreign JSON field by field. A reader returns the value or its default; what is impossible is left out and
 * noted as a Problem, and the rest goes on. Absent and null are the same, as in the Kubernetes API.
 */
export interface Fields {
  readonly raw: Readonly<Record<string, unknown>>;
  /** `spec.ports[0]`, '' for the object itself. */
  readonly path: string;
  /** `Service default/web`. */
  readonly object: string;
  /** Collects; shared by all Fields of one object. */
  readonly problems: Problem[];
}

/** The one empty list that all objects share. */
export const EMPTY: readonly never[] = Object.freeze([]);
const NO_ENTRIES: Readonly<Record<string, string>> = Object.freeze({});
const NOTHING: Readonly<Record<string, unknown>> = Object.freeze({});
/** A quoted foreign value goes into logs: a few words are enough to recognise it. */
const QUOTED_LENGTH = 80;

/** A list to keep: push() leaves room for up to 16 more elements behind, a copy has none. */
export function compactOf<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? EMPTY : list.slice();
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= QUOTED_LENGTH ? text : `${text.slice(0, QUOTED_LENGTH)}…`;
}

function pathOf(fields: Fields, name: string): string {
  return fields.path === '' ? name : `${fields.path}.${name}`;
}

/** Notes that `name` under `fields` is impossible: its value, then what is wrong with it. */
export function noteProblem(fields: Fields, name: string, value: unknown, complaint: string): void {
  fields.problems.push({ object: fields.object, field: pathOf(fields, name), message: `${quote(value)} ${complaint}` });
}

/** The object under `name`; an empty one when there is none. */
export function childOf(fields: Fields, name: string): Fields {
  const value = fields.raw[name];
  const isObject = isRecord(value);
  if (!isObject && value !== undefined && value !== null) noteProblem(fields, name, value, 'is not an object');
  const raw = isObject ? value : NOTHING;
  return { raw, path: pathOf(fields, name), object: fields.object, problems: fields.problems };
}

/** The list under `name`, as it is. */
export function listOf(fields: Fields, name: string): readonly unknown[] {
  const value = fields.raw[name];
  if (Array.isArray(value)) return value;
  if (value !== undefined && value !== null) noteProblem(fields, name, value, 'is not a list');
  return EMPTY;
}

/** What `read` makes of each object in the list under `name`, without its undefined results. */
export function mapItems<T>(fields: Fields, name: string, read: (item: Fields) => T | undefined): readonly T[] {
  const values = listOf(fields, name);
  if (values.length === 0) return EMPTY;
  const results: T[] = [];
  for (const [index, raw] of values.entries()) {
    if (!isRecord(raw)) {
      noteProblem(fields, `${name}[${index}]`, raw, 'is not an object');
      continue;
    }
    const path = `${pathOf(fields, name)}[${index}]`;
    const result = read({ raw, path, object: fields.object, problems: fields.problems });
    if (result !== undefined) results.push(result);
  }
  return compactOf(results);
}

/** The text under `name`, '' when there is none. */
export function textOf(fields: Fields, name: string): string {
  const value = fields.raw[name];
  if (typeof value === 'string') return value === '' ? '' : ownText(value);
  if (value !== undefined && value !== null) noteProblem(fields, name, value, 'is not a text');
  return '';
}

/** The boolean under `name`, `absent` when there is none. */
export function flagOf(fields: Fields, name: string, absent: boolean): boolean {
  const value = fields.raw[name];
  if (typeof value === 'boolean') return value;
  if (value !== undefined && value !== null) noteProblem(fields, name, value, 'is not true or false');
  return absent;
}

/** One of the words that the API allows under `name`; the first when there is none or another one. */
export function wordOf<T extends string>(fields: Fields, name: string, words: readonly [T, ...T[]]): T {
  const value = fields.raw[name];
  if (value === undefined || value === null || value === '') return words[0];
  const word = words.find(candidate => candidate === value);
  if (word === undefined) noteProblem(fields, name, value, `is none of ${words.join(', ')}; ${words[0]} is assumed`);
  return word ?? words[0];
}

/** The transport protocol under `protocol`, TCP when there is none, undefined (noted) when there is no such protocol. */
export function protocolOf(fields: Fields): Protocol | undefined {
  const value = fields.raw.protocol;
  if (value === undefined || value === null || value === '') return 'TCP';
  if (value === 'TCP' || value === 'UDP' || value === 'SCTP') return value;
  noteProblem(fields, 'protocol', value, 'is none of TCP, UDP, SCTP');
  return undefined;
}

/** The integer under `name`, 0 when there is none, undefined (noted) when it isn't an integer from min to max. */
export function integerOf(fields: Fields, name: string, min: number, max: number): number | undefined {
  const value = fields.raw[name];
  if (value === undefined || value === null) return 0;
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  noteProblem(fields, name, value, `is not a whole number from ${min} to ${max}`);
  return undefined;
}

/** Canonical address under `name`, undefined (noted) when it is none or the unspecified one, which is nobody's. */
export function addressOf(fields: Fields, name: string, value: unknown): string | undefined {
  const address = typeof value === 'string' ? canonicalIP(value) : undefined;
  if (address === undefined) noteProblem(fields, name, value, 'is not an IP address');
  else if (isUnspecified(address)) noteProblem(fields, name, value, 'is the unspecified address');
  else if (isLoopback(address)) noteProblem(fields, name, value, 'is a loopback address');
  else if (isMulticast(address)) noteProblem(fields, name, value, 'is a multicast address');
  else return ownText(address);
  return undefined;
}

/** The texts in the list under `name` that `read` can make something of, each once, in their order. */
function uniqueOf(
  fields: Fields,
  name: string,
  read: (fields: Fields, name: string, value: unknown) => string | undefined,
): readonly string[] {
  const values = listOf(fields, name);
  if (values.length === 0) return EMPTY;
  const results: string[] = [];
  for (const [index, value] of values.entries()) {
    const result = read(fields, `${name}[${index}]`, value);
    if (result !== undefined && !results.includes(result)) results.push(result);
  }
  return compactOf(results);
}

/** The canonical addresses in the list under `name`. */
export function addressesOf(fields: Fields, name: string): readonly string[] {
  return uniqueOf(fields, name, addressOf);
}

function rangeOf(fields: Fields, name: string, value: unknown): string | undefined {
  const range = typeof value === 'string' ? parseCIDR(value) : undefined;
  if (range === undefined) noteProblem(fields, name, value, 'is not a CIDR');
  return range === undefined ? undefined : ownText(range.text);
}

/** The canonical CIDRs in the list under `name`. */
export function rangesOf(fields: Fields, name: string): readonly string[] {
  return uniqueOf(fields, name, rangeOf);
}

/** Of each family a range that holds nobody: the unspecified address is no one's source. */
const NOBODY = ['0.0.0.0/32', '::/128'] as const;

/**
 * The canonical CIDRs in a list of who may do something. Where an entry can't be read, it may have been the only one of a family: a family without a readable
 * one then lets nobody in, since to drop the entry would let everybody in.
 */
export function allowListOf(fields: Fields, name: string, otherwise: string): readonly string[] {
  const ranges = rangesOf(fields, name);
  const isWhole = listOf(fields, name).every(value => typeof value === 'string' && parseCIDR(value) !== undefined);
  if (isWhole) return ranges;
  const closed = NOBODY.filter(nobody => !ranges.some(range => range.includes(':') === nobody.includes(':')));
  if (closed.length === 0) return ranges;
  const family = closed[0]?.includes(':') === true ? 'IPv6' : 'IPv4';
  const message =
    closed.length > 1
      ? `no entry can be read: ${otherwise}`
      : `no ${family} entry can be read: ${otherwise} over ${family}`;
  fields.problems.push({ object: fields.object, field: pathOf(fields, name), message });
  return [...ranges, ...closed];
}

/** The text entries of the map under `name` whose key `accepts` takes. */
export function entriesOf(
  fields: Fields,
  name: string,
  accepts: (key: string) => boolean,
): Readonly<Record<string, string>> {
  const source = childOf(fields, name);
  const entries: [string, string][] = [];
  for (const key of Object.keys(source.raw)) if (accepts(key)) entries.push([ownText(key), textOf(source, key)]);
  return entries.length === 0 ? NO_ENTRIES : Object.fromEntries(entries);
}

/** A subset of what RFC 1123 subdomains allow would do; what matters is that names can stand in rules, logs and keys. */
export function isPlainName(name: string): boolean {
  return name.length <= 253 && /^[A-Za-z0-9](?:[-.:_A-Za-z0-9]*[A-Za-z0-9])?$/.test(name);
}
