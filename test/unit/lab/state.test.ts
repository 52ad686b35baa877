import { describe, expect, test } from 'vitest';
import { markedEnv, parseStat } from '../../../src/lab/process.ts';
import { type LabState, parseState } from '../../../src/lab/state.ts';

const state: LabState = {
  version: 4,
  name: 'x',
  startedAt: '2026-01-01T00:00:00Z',
  phase: 'starting',
  owner: { pid: 7, startTime: '123' },
  namespaces: ['kpx-x-node-a'],
  hasIPv6: true,
  hasDns: false,
  hasCni: false,
  mode: 'iptables',
  daemonProgram: '/x/kproxy-ts',
  control: null,
  daemons: { 'node-a': null },
  pods: [{ name: 'web-1', node: 'node-a', ip: '10.244.1.2', ip6: 'fd00:10:244:1::2', process: null }],
  podsEver: { 'node-a': 1 },
};

describe('state file', () => {
  test('comes back as it was written', () => {
    expect(parseState(JSON.stringify(state))).toEqual(state);
  });

  test('what is no state is refused with the field', () => {
    expect(() => parseState(JSON.stringify({ ...state, phase: 'odd' }))).toThrow('phase');
    expect(() => parseState(JSON.stringify({ ...state, owner: { pid: -1, startTime: '' } }))).toThrow('pid');
    expect(() => parseState('{')).toThrow();
  });
});

describe('processes', () => {
  const stat = (name: string, letter: string, threads = 1) =>
    `42 (${name}) ${letter} 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 ${threads} 0 98765 1000 2`;

  test('the start time is found behind any program name', () => {
    expect(parseStat(stat('node', 'S'))).toBe('98765');
    expect(parseStat(stat('a) Z (b 1 2', 'R'))).toBe('98765');
  });

  test('a zombie and a missing process have none', () => {
    expect(parseStat(stat('node', 'Z'))).toBeNull();
    expect(parseStat('')).toBeNull();
  });

  test('a zombie that still has threads isn’t gone: its sockets are open', () => {
    expect(parseStat(stat('node', 'Z', 7))).toBe('98765');
  });

  test('the mark can’t be overridden', () => {
    expect(markedEnv('x', { KPROXY_TS_LAB: 'y', A: 'b' })).toMatchObject({ KPROXY_TS_LAB: 'x', A: 'b' });
  });
});
