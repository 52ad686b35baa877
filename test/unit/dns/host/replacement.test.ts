import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Replacement } from '../../../../src/dns/host/replacement.ts';
import { Wake } from '../../../../src/dns/host/wake.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const now = () => Date.now();
const death = new Error('ended');

test('each replacement of workers that die at once waits twice as long, up to 30 s', () => {
  const replacement = new Replacement(() => replacement.done(), now);
  const waits = Array.from({ length: 11 }, () => {
    const wait = replacement.after(death);
    expect(replacement.after(death)).toBeUndefined(); // others of the same set
    vi.advanceTimersByTime(wait ?? 0);
    return wait;
  });
  expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
  vi.advanceTimersByTime(60_000);
  expect(replacement.after(death)).toBe(100);
});

test('a replacement is due once it has waited, and not when none is wanted any more', () => {
  const due = vi.fn();
  const replacement = new Replacement(due, now);
  replacement.after(death);
  replacement[Symbol.dispose]();
  vi.advanceTimersByTime(1000);
  expect([due.mock.calls.length, replacement.isDue, replacement.death]).toEqual([0, false, undefined]);
  replacement.after(death);
  vi.advanceTimersByTime(1000);
  expect([due.mock.calls.length, replacement.isDue, replacement.death]).toEqual([1, true, death]);
});

test('a wake comes at the earliest of the times that were asked for, once, and never after its end', () => {
  const calls: number[] = [];
  const wake = new Wake(() => calls.push(performance.now()));
  const startedAt = performance.now();
  wake.after(100);
  wake.after(30_000); // must not put off the first
  wake.after(50);
  vi.advanceTimersByTime(40_000);
  expect(calls.map(at => at - startedAt)).toEqual([50]);
  wake.after(10);
  wake[Symbol.dispose]();
  wake.after(10);
  vi.advanceTimersByTime(1000);
  expect(calls).toHaveLength(1);
});
