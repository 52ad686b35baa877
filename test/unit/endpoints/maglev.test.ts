import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAGLEV_SLOTS, maglevTable, type WeightedEndpoint } from '../../../src/endpoints/maglev.ts';

const endpointKey = fc.tuple(fc.ipV4(), fc.integer({ min: 1, max: 65535 })).map(([ip, port]) => `${ip}:${port}`);
const keys = (min: number, max: number) => fc.uniqueArray(endpointKey, { minLength: min, maxLength: max });
const equal = (names: readonly string[]): WeightedEndpoint[] => names.map(key => ({ key, weight: 1 }));

/** The key of each slot's endpoint. */
function keysOf(endpoints: readonly WeightedEndpoint[], size?: number): readonly string[] {
  return maglevTable(endpoints, size).map(index => endpoints[index]?.key ?? 'nobody');
}

function countOf(table: readonly string[], key: string): number {
  return table.filter(owner => owner === key).length;
}

/** The part of the slots that change hands when one endpoint goes, in units of 1/n, for each that may go. */
function movements(endpoints: readonly WeightedEndpoint[]): number[] {
  const before = keysOf(endpoints);
  return endpoints.map(({ key }) => {
    const after = keysOf(endpoints.filter(endpoint => endpoint.key !== key));
    return (before.filter((owner, slot) => owner !== after[slot]).length * endpoints.length) / before.length;
  });
}

const meanOf = (list: readonly number[]) => list.reduce((sum, number) => sum + number, 0) / list.length;

describe('the table of a source hash', () => {
  it('has an endpoint for every slot, and is empty without any', () => {
    expect(maglevTable([])).toEqual([]);
    expect(maglevTable([{ key: 'a', weight: 0 }])).toEqual([]);
    expect(maglevTable([{ key: 'a', weight: 3 }])).toEqual(new Array(MAGLEV_SLOTS).fill(0));
    fc.assert(
      fc.property(keys(1, 400), names => !keysOf(equal(names)).includes('nobody')),
      { numRuns: 20 },
    );
  });

  it('does not depend on the order of the endpoints', () => {
    const shuffled = keys(1, 60).chain(names =>
      fc.tuple(fc.constant(names), fc.shuffledSubarray(names, { minLength: names.length })),
    );
    fc.assert(
      fc.property(shuffled, ([names, others]) => {
        expect(keysOf(equal(others))).toEqual(keysOf(equal(names)));
      }),
      { numRuns: 30 },
    );
  });

  it('stays the same from one version to the next: the nodes of a cluster are not replaced all at once', () => {
    const endpoints = equal(['10.244.1.2:8080', '10.244.2.2:8080', '[fd00::1]:80']);
    expect(maglevTable(endpoints, 17)).toMatchInlineSnapshot(`
      [
        2,
        1,
        2,
        1,
        1,
        1,
        0,
        0,
        1,
        2,
        0,
        2,
        2,
        2,
        0,
        0,
        2,
      ]
    `);
  });

  it('gives each endpoint its share, give or take a few slots, and at least one while there are enough', () => {
    fc.assert(
      fc.property(keys(1, 60), names => {
        const table = keysOf(equal(names));
        const share = MAGLEV_SLOTS / names.length;
        const most = Math.max(1, Math.min(3.5, 80 / share)) + 1;
        for (const key of names) {
          expect(countOf(table, key)).toBeGreaterThanOrEqual(Math.max(1, share - most));
          expect(countOf(table, key)).toBeLessThanOrEqual(share + most);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('gives shares by weight, and nothing for weight 0', () => {
    const weighted = keys(2, 30).chain(names =>
      fc.tuple(...names.map(key => fc.record({ key: fc.constant(key), weight: fc.integer({ min: 0, max: 100 }) }))),
    );
    fc.assert(
      fc.property(weighted, endpoints => {
        const table = keysOf(endpoints);
        const total = endpoints.reduce((sum, { weight }) => sum + weight, 0);
        fc.pre(total > 0);
        for (const { key, weight } of endpoints) {
          const share = (MAGLEV_SLOTS * weight) / total;
          expect(Math.abs(countOf(table, key) - share)).toBeLessThanOrEqual(4.5);
          if (weight === 0) expect(countOf(table, key)).toBe(0);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('when one of n endpoints goes', () => {
  // Seeds are fixed: it is a mean that is judged, and a rare set of endpoints may have bad luck.
  it.each([2, 3, 5, 10, 20, 30, 40, 50, 60])('at most 1.3/n of the slots change hands (n = %i)', n => {
    const sets = fc.sample(keys(n, n), { numRuns: n > 20 ? 5 : 10, seed: n });
    const moved = sets.map(names => movements(equal(names)));
    expect(meanOf(moved.flat())).toBeLessThanOrEqual(1.3);
    for (const set of moved) expect(meanOf(set)).toBeLessThanOrEqual(1.5);
    expect(Math.max(...moved.flat())).toBeLessThanOrEqual(2.5);
  });

  it('that holds for addresses in a row, as a node gives its pods', () => {
    for (const n of [4, 10, 25, 60]) {
      const names = Array.from({ length: n }, (_, i) => `10.244.${i % 3}.${i + 2}:8080`);
      expect(meanOf(movements(equal(names)))).toBeLessThanOrEqual(1.3);
    }
  });

  it('that holds for weights, in units of its own share', () => {
    const sets = fc.sample(keys(12, 12), { numRuns: 10, seed: 1 });
    const moved = sets.flatMap(names => {
      const endpoints = names.map((key, i) => ({ key, weight: 1 + (i % 3) }));
      const total = endpoints.reduce((sum, { weight }) => sum + weight, 0);
      return movements(endpoints).map((part, i) => (part / 12) * (total / (endpoints[i]?.weight ?? 1)));
    });
    expect(meanOf(moved)).toBeLessThanOrEqual(1.3);
  });

  it('and comes back, its clients come back', () => {
    const endpoints = equal(['a', 'b', 'c', 'd']);
    const before = keysOf(endpoints);
    keysOf(endpoints.slice(1));
    expect(keysOf(endpoints)).toEqual(before);
  });
});
