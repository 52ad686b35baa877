/** Names of types and rcodes, as people and metrics read them. Pure. */
import { RCODE, TYPE } from './records.ts';

/** Types that are counted by name and can be asked for by name; all others are `TYPE123` (RFC 3597 §5). */
const NUMBERS: Readonly<Record<string, number>> = {
  ...TYPE,
  MX: 15,
  NAPTR: 35,
  DS: 43,
  DNSKEY: 48,
  TLSA: 52,
  SVCB: 64,
  CAA: 257,
};
const NAMES = new Map(Object.entries(NUMBERS).map(([name, number]) => [number, name]));
const RCODE_NAMES = new Map<number, string>(Object.entries(RCODE).map(([name, number]) => [number, name]));

export function typeName(type: number): string {
  return NAMES.get(type) ?? `TYPE${type}`;
}

/** Whether the type has a name of its own. */
export function isNamedType(type: number): boolean {
  return NAMES.has(type);
}

/** Of a name in any case, or `TYPE123`; undefined for what is none. */
export function typeNumber(name: string): number | undefined {
  const known = NUMBERS[name.toUpperCase()];
  if (known !== undefined) return known;
  const digits = /^TYPE(\d{1,5})$/i.exec(name)?.[1];
  return digits === undefined || Number(digits) > 65_535 ? undefined : Number(digits);
}

export function rcodeName(rcode: number): string {
  return RCODE_NAMES.get(rcode) ?? `RCODE${rcode}`;
}
