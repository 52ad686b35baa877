import { expect, it } from 'vitest';
import { PendingChanges } from '../../src/pending-changes.ts';
import type { SliceChange } from '../../src/watch/changes.ts';

function start() {
  const seconds: number[] = [];
  const clock = { ms: 100_000 };
  const pending = new PendingChanges({ family: 'IPv4', onProgrammed: s => seconds.push(s), now: () => clock.ms });
  const counts = () => [pending.services, pending.endpoints];
  return { pending, clock, counts, seconds: () => seconds.splice(0) };
}

const slice = (service: string, changeTriggerMs = 0, family: SliceChange['family'] = 'IPv4'): SliceChange => ({
  service,
  family,
  changeTriggerMs,
});

it('counts what is not programmed yet, each Service once, of its own family only', () => {
  const { pending, counts } = start();
  pending.noted({ services: ['a/b', 'a/c'], slices: [slice('a/b'), slice('a/b'), slice('a/d', 0, 'IPv6')] });
  expect(counts()).toEqual([2, 1]);
  pending.pulled();
  pending.noted({ services: ['a/b', 'a/e'], slices: [] });
  expect(counts()).toEqual([3, 1]);
  pending.synced();
  expect(counts()).toEqual([2, 0]);
  // A sync that failed: what it pulled still waits.
  pending.pulled();
  pending.pulled();
  expect(counts()).toEqual([2, 0]);
  pending.synced();
  expect(counts()).toEqual([0, 0]);
});

it('measures from what led to a change to the kernel having it, through a failed sync, and each once', () => {
  const { pending, clock, seconds } = start();
  pending.pulled();
  pending.synced();
  pending.noted({ services: [], slices: [slice('a/b', 99_000), slice('a/c', 98_500), slice('a/d')] });
  pending.pulled();
  clock.ms += 1000;
  pending.pulled();
  pending.synced();
  expect(seconds()).toEqual([2, 2.5]);
  pending.pulled();
  pending.synced();
  expect(seconds()).toEqual([]);
});

it('measures neither what was there at the start nor what another process programs', () => {
  const { pending, seconds } = start();
  pending.noted({ services: [], slices: [slice('a/b', 99_000)] });
  pending.pulled();
  pending.synced();
  pending.noted({ services: [], slices: [slice('a/b', 99_000)] });
  pending.paused();
  pending.noted({ services: [], slices: [slice('a/c', 99_500)] });
  pending.pulled();
  pending.synced();
  expect(seconds()).toEqual([]);
});
