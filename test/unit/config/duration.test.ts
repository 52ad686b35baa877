import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { durationText, parseDurationMs } from '../../../src/config/duration.ts';

describe('parseDurationMs', () => {
  test.each([
    ['30s', 30_000],
    ['1m30s', 90_000],
    ['0s', 0],
    ['0', 0],
    ['1.5h', 5_400_000],
    ['.5s', 500],
    ['100ms', 100],
    ['250us', 0.25],
    ['-5s', -5000],
    ['24h', 86_400_000],
  ])('reads %s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  test.each(['', '30', 's', '1x', '1s 2s', '-', '+', '.s', '1m30', 'ten seconds', '1e3s'])('refuses %j', text => {
    expect(parseDurationMs(text)).toBeUndefined();
  });

  test('adds up the parts of any duration', () => {
    const parts = fc.tuple(fc.nat(99), fc.nat(59), fc.nat(59), fc.nat(999));
    fc.assert(
      fc.property(parts, ([h, m, s, ms]) => {
        expect(parseDurationMs(`${h}h${m}m${s}s${ms}ms`)).toBe(((h * 60 + m) * 60 + s) * 1000 + ms);
      }),
    );
  });
});

describe('durationText', () => {
  test.each([
    [0, '0s'],
    [0.25, '250µs'],
    [1e-6, '1ns'],
    [250, '250ms'],
    [1500, '1.5s'],
    [30_000, '30s'],
    [90_000, '1m30s'],
    [3_600_000, '1h0m0s'],
    [86_401_000, '24h0m1s'],
    [-5000, '-5s'],
  ])('writes %s ms as Go does', (ms, text) => {
    expect(durationText(ms)).toBe(text);
  });

  test('is read back as the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1_000_000_000, max: 1_000_000_000 }), ms => {
        expect(parseDurationMs(durationText(ms))).toBeCloseTo(ms, 6);
      }),
    );
  });
});
