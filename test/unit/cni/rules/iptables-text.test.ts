import { describe, expect, test } from 'vitest';
import { jumpsOf, type OwnChains } from '../../../../src/cni/rules/iptables-rules.ts';
import { hasJumps, parseSave, restoreText } from '../../../../src/cni/rules/iptables-text.ts';

const jumps = jumpsOf('IPv6').slice(2);
const JUMP = '-m comment --comment "kproxy-ts: pods of this node" -j KPROXY-CNI-MASQ';
const chains: OwnChains = new Map([['KPROXY-CNI-MASQ', [{ text: '-s fd00::2/128 -j MASQUERADE', what: 'a pod' }]]]);
const save = (...lines: readonly string[]) => ['*nat', ':POSTROUTING ACCEPT [0:0]', ...lines, 'COMMIT', ''].join('\n');
const text = (found: string, wanted = chains) => restoreText(parseSave(found), wanted, jumps);

describe('chains of pods as text', () => {
  test('where nothing is, all is made, and the way to it last', () => {
    expect(text(save()).split('\n')).toEqual([
      '*nat',
      ':KPROXY-CNI-MASQ - [0:0]',
      '-A KPROXY-CNI-MASQ -s fd00::2/128 -j MASQUERADE',
      `-A POSTROUTING ${JUMP}`,
      'COMMIT',
      '',
    ]);
  });

  test('a way that is there stays where it is; one that is there twice is made anew', () => {
    const once = [':KPROXY-CNI-MASQ - [1:2]', `-A POSTROUTING ${JUMP}`];
    expect(text(save(...once))).not.toContain('POSTROUTING');
    const twice = text(save(...once, `-A POSTROUTING ${JUMP}`)).split('\n');
    expect(twice.slice(3, -2)).toEqual([`-D POSTROUTING ${JUMP}`, `-D POSTROUTING ${JUMP}`, `-A POSTROUTING ${JUMP}`]);
  });

  test('the last pod takes all with it, also what an agent of before had', () => {
    const found = save(':KPROXY-CNI-MASQ - [0:0]', ':KPROXY-CNI-PODMASQ - [0:0]', `-A POSTROUTING ${JUMP}`);
    expect(text(found, new Map()).split('\n')).toEqual([
      '*nat',
      ':KPROXY-CNI-MASQ - [0:0]',
      ':KPROXY-CNI-PODMASQ - [0:0]',
      `-D POSTROUTING ${JUMP}`,
      '-X KPROXY-CNI-MASQ',
      '-X KPROXY-CNI-PODMASQ',
      'COMMIT',
      '',
    ]);
    expect(text(save(), new Map())).toBe('');
  });

  test('the chain of FORWARD, other tables and other programs’ chains are none of these', () => {
    const found = parseSave(
      `*mangle\n:KPROXY-CNI-MASQ - [0:0]\n-A KPROXY-CNI-MASQ -j RETURN\nCOMMIT\n*filter\n:KPROXY-CNI-FORWARD - [0:0]\n-A FORWARD -j KPROXY-CNI-FORWARD\nCOMMIT\n${save(':OTHER - [0:0]', '-A OTHER -j RETURN')}`,
    );
    expect(found).toEqual({ chains: new Map(), jumps: [] });
    expect(hasJumps(found, jumps)).toBe(false);
    expect(hasJumps(found, [])).toBe(true);
  });

  test('what leads to a chain from where it should not is taken away', () => {
    const found = save(':KPROXY-CNI-MASQ - [0:0]', `-A POSTROUTING ${JUMP}`, '-A OTHER -g KPROXY-CNI-MASQ');
    expect(hasJumps(parseSave(found), jumps)).toBe(false);
    expect(text(found)).toContain('-D OTHER -g KPROXY-CNI-MASQ');
  });
});
