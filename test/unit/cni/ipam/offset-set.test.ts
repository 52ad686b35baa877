import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OffsetSet } from '../../../../src/cni/ipam/offset-set.ts';

describe('a set of offsets', () => {
  test('finds what a plain set finds', () => {
    const size = fc.constantFrom(1, 2, 31, 32, 33, 64, 1023, 1024, 1025, 2100);
    const step = fc.record({ kind: fc.constantFrom('add', 'delete', 'fill'), at: fc.nat(2200) });
    fc.assert(
      fc.property(size, fc.array(step, { maxLength: 60 }), fc.array(fc.nat(2200)), (all, steps, starts) => {
        const real = new OffsetSet(all);
        const plain = new Set<number>();
        const put = (at: number) => {
          real.add(at);
          plain.add(at);
        };
        for (const { kind, at } of steps) {
          const offset = at % all;
          if (kind === 'add') put(offset);
          else if (kind === 'fill') for (let i = offset; i < Math.min(all, offset + 700); i++) put(i);
          else {
            real.delete(offset);
            plain.delete(offset);
          }
        }
        for (const at of starts) {
          const from = at % (all + 1);
          let expected: number | undefined = from;
          while (expected < all && plain.has(expected)) expected++;
          if (expected >= all) expected = undefined;
          expect(real.nextAbsent(from)).toBe(expected);
          if (from < all) expect(real.has(from)).toBe(plain.has(from));
        }
      }),
    );
  });

  test('the greatest size is exact', () => {
    const set = new OffsetSet(2 ** 48);
    set.add(2 ** 48 - 2);
    expect(set.nextAbsent(2 ** 48 - 2)).toBe(2 ** 48 - 1);
    set.add(2 ** 48 - 1);
    expect(set.nextAbsent(2 ** 48 - 2)).toBeUndefined();
    expect(set.nextAbsent(0)).toBe(0);
  });
});
