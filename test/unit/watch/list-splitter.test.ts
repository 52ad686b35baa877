import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ListSplitter } from '../../../src/watch/list-splitter.ts';

/** The items and the rest of a text that arrives in chunks of such sizes, the sizes again and again. */
function split(text: string, sizes: readonly number[]): { items: unknown[]; frame: unknown } {
  const splitter = new ListSplitter();
  const bytes = Buffer.from(text);
  const items: unknown[] = [];
  for (let start = 0, n = 0; start < bytes.length; n += 1) {
    const end = start + (sizes[n % sizes.length] ?? 1);
    for (const item of splitter.push(bytes.subarray(start, end))) items.push(JSON.parse(item));
    start = end;
  }
  return { items, frame: JSON.parse(splitter.frame) };
}

describe('a list', () => {
  it('is cut as JSON.parse reads it, however it arrives and whatever is in it', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
    const rest = fc.dictionary(
      fc.string().filter(key => key !== 'items' && key !== '__proto__'),
      fc.jsonValue(),
    );
    const spaces = fc.constantFrom(undefined, 1, '\t');
    fc.assert(
      fc.property(rest, fc.array(fc.jsonValue()), rest, sizes, spaces, (before, items, after, chunks, indent) => {
        const text = JSON.stringify({ ...before, items, ...after }, undefined, indent);
        const whole = JSON.parse(text);
        expect(split(text, chunks)).toEqual({ items: whole.items, frame: { ...whole, items: [] } });
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ['brackets and quotes in texts', '{"a":"]\\"[,","items":[{"b":"[]{},\\\\\\""},{"c":["]",{}]}],"z":["items"]}'],
    ['other lists, and items deeper down', '{"managed":[[1],{"items":[3]}],"metadata":{"items":[4]},"items":[5,[6]]}'],
    ['spaces everywhere', ' { "items" :\n [ {} , { } ] , "metadata" : { } } '],
    ['no items', '{"items":[]}'],
    ['null for none', '{"items":null,"metadata":{}}'],
    ['a text that says items', '{"kind":"items","list":[1],"items":[2]}'],
  ])('may hold %s', (_what, text) => {
    const whole = JSON.parse(text);
    const items = whole.items ?? [];
    for (const size of [1, 2, 3, 1000]) {
      expect(split(text, [size])).toEqual({ items, frame: whole.items === null ? whole : { ...whole, items: [] } });
    }
  });

  it.each(['', '{"items":[{}', '{"items":[{}]', '{"items":[]}}', '<html>', '{"items":[{]}'])(
    'that is no JSON is noticed: %s',
    text => {
      expect(() => split(text, [1000])).toThrow(SyntaxError);
    },
  );

  it('of any length is held item by item', () => {
    const splitter = new ListSplitter();
    const item = Buffer.from(`${JSON.stringify({ text: 'x'.repeat(1000) })},`);
    let count = 0;
    splitter.push(Buffer.from('{"items":['));
    for (let n = 0; n < 1000; n += 1) count += splitter.push(item).length;
    splitter.push(Buffer.from('0]}'));
    expect(count).toBe(1000);
    expect(splitter.frame).toBe('{"items":[]}');
  });

  it('with an item beyond all measure is refused', () => {
    const splitter = new ListSplitter();
    splitter.push(Buffer.from('{"items":["'));
    const megabyte = Buffer.alloc(1024 * 1024, 'x');
    expect(() => {
      for (let n = 0; n < 33; n += 1) splitter.push(megabyte);
    }).toThrow('an item of more than 32 MiB');
  });

  it('without items and without an end is refused', () => {
    const splitter = new ListSplitter();
    const megabyte = Buffer.alloc(1024 * 1024, 'x');
    expect(() => {
      for (let n = 0; n < 33; n += 1) splitter.push(megabyte);
    }).toThrow('a list with more than 32 MiB around its items');
  });
});
