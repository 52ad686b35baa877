import { describe, expect, test } from 'vitest';
import type { ProbeReport } from '../../../src/lab/probe.ts';
import { findFaults, tally } from '../../../src/lab/tally.ts';

const pods = [1, 2, 3, 4].map(number => ({
  name: `web-${number}`,
  node: 'node-a',
  ip: `10.244.1.${number + 1}`,
  ip6: '',
}));

function report(counts: readonly number[], failures: readonly string[] = []): ProbeReport {
  const replies = counts.flatMap((count, index) => {
    const { name, node, ip } = pods[index]!;
    return Array.from({ length: count }, () => ({ pod: name, node, ip, clientIP: '', clientPort: 0, ms: 1, at: 0 }));
  });
  return { replies, failures: failures.map(error => ({ error, ms: 1, at: 0 })) };
}

describe('tally', () => {
  test('counts by pod', () => {
    expect([...tally(report([2, 1]))]).toEqual([
      ['web-1', 2],
      ['web-2', 1],
    ]);
  });

  test('an even spread has no faults, and neither has an ordinary random one', () => {
    expect(findFaults(report([50, 50, 50, 50]), pods, 200)).toEqual([]);
    expect(findFaults(report([35, 65, 48, 52]), pods, 200)).toEqual([]);
  });

  test('a pod that never answered is named', () => {
    expect(findFaults(report([67, 67, 66, 0]), pods, 200)).toEqual([
      'web-4 answered 0 of 200 connections instead of about 50',
    ]);
  });

  test('a pod that gets nearly everything is a fault', () => {
    expect(findFaults(report([170, 10, 10, 10]), pods, 200)).toContain(
      'web-1 answered 170 of 200 connections instead of about 50',
    );
  });

  test('failed and missing connections are faults', () => {
    const faults = findFaults(report([50, 50, 50, 48], ['timeout', 'timeout']), pods, 200);
    expect(faults).toEqual(['2 of 200 connections failed: timeout']);
    expect(findFaults(report([50, 50, 50, 49]), pods, 200)).toEqual(['199 of 200 were made']);
  });

  test('an answer from what is no pod of the Service is a fault, even under a known name', () => {
    const impostor = pods.map(pod => (pod.name === 'web-1' ? { ...pod, ip: '10.0.0.1' } : pod));
    expect(findFaults(report([50, 50, 50, 50]), impostor, 200)).toEqual([
      'answered by what is no pod of the Service: web-1 (10.244.1.2)',
    ]);
  });
});
