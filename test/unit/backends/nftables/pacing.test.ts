import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Pacing } from '../../../../src/backends/nftables/pacing.ts';

describe('pacing', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function start() {
    let calls = 0;
    const pacing = new Pacing(
      () => {
        calls += 1;
      },
      () => Date.now(),
    );
    return { pacing, calls: () => calls };
  }

  it('passes on what is rare, at once', () => {
    const { pacing, calls } = start();
    for (let i = 1; i <= 30; i += 1) {
      pacing.ask();
      expect(calls()).toBe(i);
      vi.advanceTimersByTime(5000);
    }
  });

  it('slows down who asks all the time, and forgets nothing', () => {
    const { pacing, calls } = start();
    for (let i = 0; i < 1000; i += 1) {
      pacing.ask();
      vi.advanceTimersByTime(60);
    }
    // Twelve at once, then one every 5 s of a minute.
    expect(calls()).toBeGreaterThanOrEqual(12 + 11);
    expect(calls()).toBeLessThanOrEqual(12 + 13);
    const before = calls();
    pacing.ask();
    vi.advanceTimersByTime(5000);
    expect(calls()).toBe(before + 1);
  });

  it('is full again after a minute', () => {
    const { pacing, calls } = start();
    for (let i = 0; i < 20; i += 1) pacing.ask();
    vi.advanceTimersByTime(70_000);
    const before = calls();
    for (let i = 0; i < 12; i += 1) pacing.ask();
    expect(calls()).toBe(before + 12);
  });

  it('asks nobody any more once it is disposed', () => {
    const { pacing, calls } = start();
    for (let i = 0; i < 20; i += 1) pacing.ask();
    pacing[Symbol.dispose]();
    vi.advanceTimersByTime(60_000);
    expect(calls()).toBe(12);
  });
});
