import { describe, expect, test } from 'vitest';
import { failureKind, type TrafficFailure, TrafficTally } from '../../../src/lab/traffic-tally.ts';

const target = '10.96.0.80:80/tcp';

function failure(changes: Partial<TrafficFailure> = {}): TrafficFailure {
  return { kind: 'refused', error: 'ECONNREFUSED', target, isHeld: false, at: 1000, ...changes };
}

describe('the count of a traffic run', () => {
  test('every kind of failure is counted by itself, for its target, and is no answer', () => {
    const tally = new TrafficTally(500);
    for (const kind of ['refused', 'timedOut', 'timedOut', 'reset', 'wrong', 'other'] as const) {
      tally.opened(target, 0);
      tally.failed(failure({ kind }));
    }
    tally.opened('other:80/udp', 7);
    tally.answered('web-1', 990, 4);
    expect(tally.report(2000)).toMatchObject({
      startedAt: 500,
      endedAt: 2000,
      opened: 7,
      answered: 1,
      refused: 1,
      timedOut: 2,
      reset: 1,
      wrong: 1,
      other: 1,
      targets: { [target]: { opened: 6, failed: 6 }, 'other:80/udp': { opened: 1, failed: 0 } },
      worstLagMs: 7,
    });
  });

  test('held connections have counts of their own', () => {
    const tally = new TrafficTally(0);
    tally.heldOpened();
    tally.heldAnswered(3);
    tally.heldAnswered(40);
    tally.heldAnswered(2);
    tally.failed(failure({ isHeld: true, kind: 'reset' }));
    const report = tally.report(1);
    expect(report.held).toEqual({ opened: 1, answers: 3, failed: 1, longestWaitMs: 40 });
    expect(report).toMatchObject({ opened: 0, reset: 0, targets: {} });
    expect(report.failures).toHaveLength(1);
  });

  test('a pod’s share says when the first and the last connection that it answered was opened', () => {
    const tally = new TrafficTally(0);
    for (const at of [20, 10, 30]) tally.answered('web-1', at, 1);
    tally.answered('web-2', 5, 1);
    expect(tally.report(40).pods).toEqual({
      'web-1': { answers: 3, firstAt: 10, lastAt: 30 },
      'web-2': { answers: 1, firstAt: 5, lastAt: 5 },
    });
  });

  test('percentiles are latencies that occurred', () => {
    const tally = new TrafficTally(0);
    for (let ms = 200; ms > 0; ms--) tally.answered('web-1', 0, ms);
    expect(tally.report(1).latencyMs).toEqual({ p50: 100, p90: 180, p99: 198, max: 200 });
    const one = new TrafficTally(0);
    one.answered('web-1', 0, 3);
    expect(one.report(1).latencyMs).toEqual({ p50: 3, p90: 3, p99: 3, max: 3 });
    expect(new TrafficTally(0).report(1).latencyMs.max).toBeNaN();
  });

  test('failures are listed in the order of time, the first thousand; all are counted', () => {
    const tally = new TrafficTally(0);
    for (let n = 0; n < 1500; n++) tally.failed(failure({ at: 5000 - n }));
    const { failures, refused } = tally.report(1);
    expect(refused).toBe(1500);
    expect(failures).toHaveLength(1000);
    expect(failures[0]?.at).toBe(4001);
    expect(failures.at(-1)?.at).toBe(5000);
  });
});

test.for([
  ['ECONNREFUSED', 'refused'],
  ['timeout', 'timedOut'],
  ['ECONNRESET', 'reset'],
  ['EPIPE', 'reset'],
  ['closed without an answer', 'reset'],
  ["answered 'x' to 'y'", 'wrong'],
  ['EADDRNOTAVAIL', 'other'],
] as const)('%s counts as %s', ([error, kind]) => {
  expect(failureKind(error)).toBe(kind);
});
