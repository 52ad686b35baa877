import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Timer } from '../../../src/backends/timer.ts';

describe('Timer', () => {
  it('calls soon, but not from within set', async () => {
    const calls: string[] = [];
    const timer = new Timer();
    timer.set(() => calls.push('now'), 0);
    expect(calls).toEqual([]);
    await delay(5);
    expect(calls).toEqual(['now']);
  });

  it('forgets the call before, whether it was due now or later', async () => {
    const calls: number[] = [];
    const timer = new Timer();
    timer.set(() => calls.push(1), 0);
    timer.set(() => calls.push(2), 1);
    timer.set(() => calls.push(3), 0);
    await delay(10);
    expect(calls).toEqual([3]);
  });

  it('calls nothing after clear', async () => {
    const calls: number[] = [];
    const timer = new Timer();
    timer.set(() => calls.push(1), 0);
    timer.clear();
    timer.set(() => calls.push(2), 1);
    timer.clear();
    await delay(10);
    expect(calls).toEqual([]);
  });

  it('takes a wait that is longer than Node can count', async () => {
    const calls: number[] = [];
    const timer = new Timer();
    timer.set(() => calls.push(1), Number.MAX_SAFE_INTEGER);
    await delay(10);
    timer.clear();
    expect(calls).toEqual([]);
  });
});
