import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineSplitter } from '../../../src/watch/line-splitter.ts';

describe('LineSplitter', () => {
  it('finds the same lines however the bytes are cut', () => {
    const text = fc.string({ unit: fc.constantFrom('a', '\n', 'ä', '世', '🌍', '\r\n'), maxLength: 60 });
    fc.assert(
      fc.property(text, fc.array(fc.nat(60), { maxLength: 8 }), (whole, cuts) => {
        const bytes = Buffer.from(whole);
        const splitter = new LineSplitter();
        const places = [0, ...cuts.filter(cut => cut <= bytes.length).toSorted((a, b) => a - b), bytes.length];
        const lines = places.slice(1).flatMap((end, index) => splitter.push(bytes.subarray(places[index], end)));
        const expected = whole.split('\n');
        const rest = expected.pop() ?? '';
        expect(lines).toEqual(expected.filter(line => line.trim() !== ''));
        expect(splitter.pendingBytes).toBe(Buffer.byteLength(rest));
      }),
    );
  });

  it('refuses a line without an end', () => {
    const splitter = new LineSplitter();
    const chunk = new Uint8Array(1024 * 1024).fill(120);
    expect(() => {
      for (let i = 0; i < 40; i++) splitter.push(chunk);
    }).toThrow('32 MiB');
  });
});
