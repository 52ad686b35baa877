/** What nf_tables tells of sets, elements and comments: the reverse of messages.ts. Pure. */
import { attributeList, attributesIn, type Message, textOf } from './attributes.ts';
import { readData, type Verdict } from './expressions.ts';
import { type Element, type Field, INTERVAL_END, SET, SET_COMMENT, type SetSpec, VERDICT_TYPE } from './messages.ts';

/** Bytes of each type. */
const BYTES: Readonly<Record<number, number>> = { 7: 4, 8: 16, 9: 6, 12: 1, 13: 2, 19: 4, 41: 16 };

/** The reverse of `typeNumber`. */
function fieldsOf(number: number): Field[] {
  const fields: Field[] = [];
  for (let rest = number; rest > 0; rest = Math.floor(rest / 64)) {
    const type = rest % 64;
    fields.unshift({ type, bytes: BYTES[type] ?? 0 });
  }
  return fields;
}

/** The TLVs of user data by type. */
export function readUserData(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 2 <= bytes.length; at += 2 + bytes[at + 1]!) {
    found.set(bytes[at]!, bytes.subarray(at + 2, at + 2 + bytes[at + 1]!));
  }
  return found;
}

export function commentOf(userData: Buffer | undefined): string | undefined {
  const value = userData === undefined ? undefined : readUserData(userData).get(0);
  return value === undefined ? undefined : textOf(value);
}

/** What a message of a set says, in the form that `newSet` takes. */
export function readSet({ payload }: Message): SetSpec {
  const parts = attributesIn(payload);
  const number = (type: number) => parts.get(type)?.readUInt32BE(0);
  const told = parts.get(13);
  const comment = told === undefined ? undefined : readUserData(told).get(SET_COMMENT);
  const dataType = number(6);
  const description = parts.get(9);
  const size = description === undefined ? undefined : attributesIn(description).get(1)?.readUInt32BE(0);
  return {
    name: textOf(parts.get(2) ?? Buffer.alloc(0)),
    flags: (number(3) ?? 0) & ~SET.map,
    key: fieldsOf(number(4) ?? 0),
    ...(dataType === undefined ? {} : { value: dataType === VERDICT_TYPE ? 'verdict' : fieldsOf(dataType) }),
    ...(comment === undefined ? {} : { comment: textOf(comment) }),
    ...(size === undefined ? {} : { size }),
  };
}

/** Of an element that stands for all others (NFT_SET_ELEM_CATCHALL). */
const NO_KEY = Buffer.alloc(0);

/** What a message of elements says: the set, and its elements. */
export function readElements({ payload }: Message): { set: string; elements: Element[] } {
  const parts = attributesIn(payload);
  const list = parts.get(3) ?? Buffer.alloc(0);
  return { set: textOf(parts.get(2) ?? Buffer.alloc(0)), elements: [...attributeList(list)].map(readElement) };
}

function readElement([, bytes]: readonly [number, Buffer]): Element {
  const parts = attributesIn(bytes);
  const key = parts.has(1) ? bytesOf(parts.get(1)) : NO_KEY;
  const keyEnd = parts.get(10);
  const isEnd = ((parts.get(3)?.readUInt32BE(0) ?? 0) & INTERVAL_END) !== 0;
  const data = parts.get(2);
  const comment = commentOf(parts.get(6));
  return {
    key,
    ...(keyEnd === undefined ? {} : { keyEnd: bytesOf(keyEnd) }),
    ...(isEnd ? { isEnd } : {}),
    ...(data === undefined ? {} : dataOf(data)),
    ...(comment === undefined ? {} : { comment }),
  };
}

/** Nothing for a verdict that nobody of us gives: such an element is none of ours. */
function dataOf(data: Buffer): { readonly data?: Buffer | Verdict } {
  try {
    return { data: readData(data) };
  } catch (error) {
    if (error instanceof TypeError) return {};
    throw error;
  }
}

function bytesOf(data: Buffer | undefined): Buffer {
  const value = data === undefined ? undefined : readData(data);
  if (!(value instanceof Uint8Array)) throw new TypeError('an element without a key');
  return value;
}
