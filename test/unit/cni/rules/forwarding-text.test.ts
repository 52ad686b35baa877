import { describe, expect, test } from 'vitest';
import {
  acceptanceText,
  decidesAnything,
  parseForward,
  removalText,
} from '../../../../src/cni/rules/forwarding-text.ts';

const JUMP = '-A FORWARD -m comment --comment "kproxy-ts: pods of this node" -j KPROXY-CNI-FORWARD';
const table = (policy: string, ...lines: readonly string[]) =>
  parseForward(['*filter', `:INPUT ACCEPT [0:0]`, `:FORWARD ${policy} [1:2]`, ...lines, 'COMMIT', ''].join('\n'));

describe("acceptance in iptables' FORWARD", () => {
  test('nothing to do where nothing is decided', () => {
    expect(decidesAnything(table('ACCEPT'))).toBe(false);
    expect(decidesAnything(table('ACCEPT', ':KPROXY-CNI-FORWARD - [0:0]', JUMP))).toBe(false);
    expect(decidesAnything(table('DROP'))).toBe(true);
    expect(decidesAnything(table('ACCEPT', '-A FORWARD -j REJECT'))).toBe(true);
    expect(parseForward('').policy).toBeUndefined();
  });

  test('behind what others decide, before what refuses all the rest', () => {
    const chain = [
      '*filter',
      ':KPROXY-CNI-FORWARD - [0:0]',
      '-A KPROXY-CNI-FORWARD -i cni0 -j ACCEPT',
      '-A KPROXY-CNI-FORWARD -o cni0 -j ACCEPT',
    ];
    const text = (...lines: readonly string[]) => [...chain, ...lines, 'COMMIT', ''].join('\n');
    expect(acceptanceText(table('DROP', '-A FORWARD -j DOCKER-USER'), ['cni0'])).toBe(text(JUMP));
    const rejecting = table('ACCEPT', '-A FORWARD -j X', '-A FORWARD -j REJECT --reject-with icmp-host-prohibited');
    expect(acceptanceText(rejecting, ['cni0'])).toBe(text(JUMP.replace('-A FORWARD', '-I FORWARD 2')));
    const behind = table('ACCEPT', ':KPROXY-CNI-FORWARD - [0:0]', '-A FORWARD -j DROP', JUMP);
    expect(acceptanceText(behind, ['cni0'])).toBe(
      text(JUMP.replace('-A', '-D'), JUMP.replace('-A FORWARD', '-I FORWARD 1')),
    );
  });

  test('nothing where all is in its place; the chain alone where a bridge is new', () => {
    const own = [
      ':KPROXY-CNI-FORWARD - [0:0]',
      JUMP,
      '-A KPROXY-CNI-FORWARD -i cni0 -j ACCEPT',
      '-A KPROXY-CNI-FORWARD -o cni0 -j ACCEPT',
    ];
    expect(acceptanceText(table('DROP', ...own), ['cni0'])).toBe('');
    expect(acceptanceText(table('DROP', ...own), ['cni0', 'cni1'])).not.toContain('-A FORWARD');
    expect(acceptanceText(table('DROP', ...own, JUMP), ['cni0'])).toContain(
      `${JUMP.replace('-A', '-D')}\n${JUMP.replace('-A', '-D')}\n${JUMP}\n`,
    );
  });

  test('all of it goes, and nothing where there is nothing', () => {
    expect(removalText(table('DROP', '-A FORWARD -j X'))).toBe('');
    expect(removalText(table('DROP', ':KPROXY-CNI-FORWARD - [0:0]', '-A FORWARD -j X', JUMP))).toBe(
      ['*filter', ':KPROXY-CNI-FORWARD - [0:0]', JUMP.replace('-A', '-D'), '-X KPROXY-CNI-FORWARD', 'COMMIT', ''].join(
        '\n',
      ),
    );
  });
});
