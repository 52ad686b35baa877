import { describe, expect, it } from 'vitest';
import { Coalescing } from '../../../src/backends/coalescing.ts';

/** On a clock that the test moves. */
function at(startsAtOnce: boolean) {
  let now = 100;
  const coalescing = new Coalescing(startsAtOnce, () => now);
  const pass = (ms: number) => {
    now += ms;
  };
  return { coalescing, pass };
}

describe('Coalescing', () => {
  it('waits for more events always where a sync is not cheap', () => {
    const { coalescing, pass } = at(false);
    expect(coalescing.waitMs).toBe(3);
    coalescing.noteSync();
    pass(1000);
    expect(coalescing.waitMs).toBe(3);
  });

  it('starts at once after a quiet time where it is', () => {
    const { coalescing, pass } = at(true);
    expect(coalescing.waitMs).toBe(0);
    coalescing.noteSync();
    pass(3);
    expect(coalescing.waitMs).toBe(0);
  });

  it('waits for the rest of a burst soon after a sync', () => {
    const { coalescing, pass } = at(true);
    coalescing.noteSync();
    pass(2);
    expect(coalescing.waitMs).toBe(3);
  });
});
