import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareLines } from '../../../src/dump/compare.ts';

const marks = { ok: ' ', missing: '-', unexpected: '+' };
const compared = (wanted: string, found: string) =>
  compareLines(wanted.split(''), found.split('')).map(({ line, state }) => marks[state] + line);

describe('compareLines', () => {
  it('finds what is missing and what is unexpected, where it is', () => {
    expect(compared('abc', 'abc')).toEqual([' a', ' b', ' c']);
    expect(compared('abc', 'ac')).toEqual([' a', '-b', ' c']);
    expect(compared('ac', 'xabc')).toEqual(['+x', ' a', '+b', ' c']);
    expect(compared('abcd', 'bd')).toEqual(['-a', ' b', '-c', ' d']);
  });

  it('a line at the wrong place is unexpected there and missing where it belongs', () => {
    expect(compared('abc', 'bca')).toEqual(['-a', ' b', ' c', '+a']);
  });

  it('keeps duplicates apart', () => {
    expect(compared('aa', 'a')).toEqual([' a', '-a']);
    expect(compared('a', 'aa')).toEqual([' a', '+a']);
  });

  it('always tells both sides in full and in order', () => {
    const lines = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 12 });
    fc.assert(
      fc.property(lines, lines, (wanted, found) => {
        const result = compareLines(wanted, found);
        expect(result.filter(({ state }) => state !== 'unexpected').map(({ line }) => line)).toEqual(wanted);
        expect(result.filter(({ state }) => state !== 'missing').map(({ line }) => line)).toEqual(found);
      }),
    );
  });
});
