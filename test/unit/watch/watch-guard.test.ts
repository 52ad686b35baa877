import { afterEach, describe, expect, it } from 'vitest';
import { WatchGuard } from '../../../src/watch/watch-guard.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

let guard: WatchGuard;
let clock: ManualClock;
let looks: { readonly answer: (isBehind: boolean) => void; readonly fail: (error: Error) => void }[];

function watch(): void {
  clock = new ManualClock();
  looks = [];
  const hasMissed = () =>
    new Promise<boolean>((answer, fail) => {
      looks.push({ answer, fail });
    });
  guard = new WatchGuard({ clock, random: () => 0.5, hasMissed });
  guard.begin();
}
const turns = async () => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};
/** Time passes while nothing comes. */
async function quiet(ms: number): Promise<void> {
  clock.advance(ms);
  await turns();
}
const verdict = () => (guard.signal.aborted ? (guard.signal.reason as Error).message : 'alive');

afterEach(() => {
  guard[Symbol.dispose]();
  expect(clock.pending).toBe(0);
});

describe('a watch', () => {
  it('that brings something twice a minute is never looked at from elsewhere', async () => {
    watch();
    for (let n = 0; n < 100; n += 1) {
      await quiet(29_000);
      guard.touch();
    }
    expect([looks.length, verdict()]).toEqual([0, 'alive']);
  });

  it('with a bookmark a minute is looked at once a minute', async () => {
    watch();
    for (let minute = 0; minute < 60; minute += 1) {
      await quiet(35_000);
      looks.at(-1)?.answer(false);
      await turns();
      await quiet(25_000);
      guard.touch();
    }
    expect([looks.length, verdict()]).toEqual([60, 'alive']);
  });

  it('without bookmarks lives on for as long as nothing was missed', async () => {
    watch();
    for (let n = 0; n < 100; n += 1) {
      await quiet(35_000);
      expect(looks).toHaveLength(n + 1);
      looks.at(-1)?.answer(false);
      await turns();
    }
    expect(verdict()).toBe('alive');
  });

  it('that doesn’t bring what another has heard is dead after a short grace', async () => {
    watch();
    await quiet(35_000);
    looks[0]?.answer(true);
    await turns();
    await quiet(4999);
    expect(verdict()).toBe('alive');
    await quiet(1);
    expect(verdict()).toBe('the watch brings nothing of what the server has to tell');
  });

  it.each(['before the other has answered', 'in the grace'])('that only lags behind lives (%s)', async moment => {
    watch();
    await quiet(35_000);
    if (moment === 'in the grace') looks[0]?.answer(true);
    await turns();
    await quiet(3000);
    guard.touch();
    looks[0]?.answer(true);
    await quiet(10_000);
    expect(verdict()).toBe('alive');
  });

  it('of a server that hangs, so that nobody answers elsewhere either, is dead after a minute', async () => {
    watch();
    await quiet(59_999);
    expect([looks.length, verdict()]).toEqual([1, 'alive']);
    await quiet(1);
    expect(verdict()).toBe('silent for 60 s');
  });

  it('is dead after a minute without any sign, and says why it couldn’t be asked elsewhere', async () => {
    watch();
    await quiet(35_000);
    looks[0]?.fail(new Error('connect ECONNREFUSED'));
    await turns();
    await quiet(25_000);
    expect(verdict()).toBe('silent for 60 s, and asked elsewhere: connect ECONNREFUSED');
  });

  it('that is over is looked at no more', async () => {
    watch();
    await quiet(35_000);
    guard[Symbol.dispose]();
    looks[0]?.answer(true);
    await quiet(1_000_000);
    expect([looks.length, verdict()]).toEqual([1, 'alive']);
  });

  it('is looked at at another moment by each node', async () => {
    const moments = [0, 0.999].map(random => {
      const own = new ManualClock();
      let at = 0;
      const hasMissed = () => {
        at = own.now();
        return Promise.resolve(false);
      };
      const start = own.now();
      using one = new WatchGuard({ clock: own, random: () => random, hasMissed });
      one.begin();
      own.advance(45_000);
      return at - start;
    });
    expect(moments).toEqual([30_000, 39_990]);
    watch();
  });
});
