import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Frontend } from '../../../../src/backends/nftables/objects.ts';
import { settle } from '../../../../src/backends/nftables/settle.ts';

function frontend(endpoints: readonly string[], chain = `lb-${endpoints.length}`): Frontend {
  return { kind: 'frontend', where: { ip: '10.96.0.1', port: 80, protocol: 'TCP' }, service: 'a/b', chain, endpoints };
}

function slotsAfter(before: readonly string[], after: readonly string[]): readonly string[] {
  const settled = settle(frontend(before), frontend(after));
  return settled.kind === 'frontend' ? settled.endpoints : [];
}

describe('slots', () => {
  it('move the last endpoint into the hole that one leaves', () => {
    expect(slotsAfter(['a', 'b', 'c', 'd'], ['a', 'c', 'd'])).toEqual(['a', 'd', 'c']);
  });

  it('give a new endpoint the place of the one that it replaces', () => {
    expect(slotsAfter(['a', 'b', 'c'], ['a', 'c', 'x'])).toEqual(['a', 'x', 'c']);
  });

  it('hold what is wanted, and change no more of them than endpoints come and go', () => {
    const names = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'), { maxLength: 9 });
    fc.assert(
      fc.property(names, names, (before, after) => {
        const slots = slotsAfter(before, after);
        expect(slots.toSorted()).toEqual(after.toSorted());
        const left = [...before];
        const added = after.filter(name => {
          const at = left.indexOf(name);
          if (at !== -1) left.splice(at, 1);
          return at === -1;
        });
        const changed = slots.filter((name, slot) => name !== before[slot]);
        expect(changed.length).toBeLessThanOrEqual(added.length + left.length);
      }),
    );
  });

  it('stay as the table of a hash says', () => {
    const settled = settle(frontend(['a', 'b', 'b'], 'node-hash'), frontend(['b', 'b', 'a'], 'node-hash'));
    expect(settled).toEqual(frontend(['b', 'b', 'a'], 'node-hash'));
  });
});
