import { describe, expect, it } from 'vitest';
import { hasBits, layoutOf, source } from '../../../../src/backends/nftables/packet.ts';
import { FOREIGN_RULE, printRule } from '../../../../src/backends/nftables/print.ts';
import { baseLine, elementPrinter, setLines } from '../../../../src/backends/nftables/print-set.ts';
import { durationText } from '../../../../src/backends/nftables/print-values.ts';
import { comesBy, toRange } from '../../../../src/backends/nftables/sources.ts';
import { hostWord } from '../../../../src/netfilter/attributes.ts';
import { CMP, CT, type Expression, REJECT, verdict } from '../../../../src/netfilter/expressions.ts';
import { SET, TYPE } from '../../../../src/netfilter/messages.ts';

const print = (...expressions: Expression[]) => printRule({ expressions }, 'IPv4');
const ipv4 = layoutOf('IPv4');

// What our own rules look like is compared with nft itself, in test/integration/nftables-dump.test.ts.
describe('printRule', () => {
  it('writes interfaces, whole or by their beginning', () => {
    expect(print(...comesBy('lo'), verdict('accept'))).toBe('iifname "lo" accept');
    expect(print(...comesBy('cali+', CMP.neq), verdict('drop'))).toBe('iifname != "cali*" drop');
  });

  it('writes ranges by their prefix, also those whose address is zero', () => {
    expect(print(...toRange(ipv4, '10.0.0.0/9'))).toBe('ip daddr 10.0.0.0/9');
    expect(print(...toRange(ipv4, '0.0.0.0/8'))).toBe('ip daddr 0.0.0.0/8');
    expect(print(...toRange(ipv4, '192.0.2.1/32'))).toBe('ip daddr 192.0.2.1');
  });

  it('writes flags, set or not, and bits without a name as a number', () => {
    const status = { name: 'ct', dreg: 0, key: CT.status } as const;
    expect(print(...hasBits(status, 1 << 5))).toBe('ct status dnat');
    expect(print(...hasBits(status, (1 << 5) | (1 << 4), false))).toBe('ct status ! snat,dnat');
    expect(print(...hasBits(status, 1 << 12))).toBe('ct status 0x1000');
  });

  it('does not join what an earlier match left in the registers behind', () => {
    const text = print(
      { name: 'meta', dreg: 1, key: 16 },
      { name: 'cmp', sreg: 1, op: CMP.eq, data: Buffer.of(17) },
      source(ipv4, 0),
      { name: 'lookup', set: 'friends', sreg: 0 },
      { name: 'counter' },
    );
    expect(text).toBe('meta l4proto udp ip saddr @friends counter');
  });

  it('writes what others may have put among our rules, as far as the expressions are known', () => {
    expect(print({ name: 'reject', type: REJECT.icmp, code: 13 })).toBe('reject with icmp 13');
    expect(print({ name: 'masq', flags: 0 })).toBe('masquerade');
    expect(print({ name: 'payload', dreg: 0, base: 1, offset: 8, len: 1 }, cmp(64))).toBe('@nh,64,8 0x40');
    expect(print({ name: 'meta', dreg: 0, key: 3 }, { name: 'cmp', sreg: 0, op: CMP.neq, data: hostWord(0) })).toBe(
      'meta 3 != 0x00000000',
    );
  });

  it('says so where a rule cannot be told', () => {
    expect(printRule({ expressions: [], comment: 'mine' }, 'IPv6')).toBe(`${FOREIGN_RULE} comment "mine"`);
  });
});

const cmp = (byte: number): Expression => ({ name: 'cmp', sreg: 0, op: CMP.eq, data: Buffer.of(byte) });

describe('elements', () => {
  const text = elementPrinter('IPv4');
  const friend = Buffer.from([10, 0, 0, 1]);

  it('of sets that are not ours are bytes', () => {
    expect(text({ set: 'friends', key: friend })).toBe('0x0a000001');
  });

  it('that do not fit their set are bytes too', () => {
    expect(text({ set: 'services', key: friend, data: { kind: 'drop' } })).toBe('0x0a000001 : drop');
  });

  it('have ranges as prefixes where they are such', () => {
    const frontend = Buffer.from('cb00710106000000005000000a000000', 'hex');
    const upTo = (end: string) => Buffer.concat([frontend.subarray(0, 12), Buffer.from(end, 'hex')]);
    expect(text({ set: 'allowed', key: frontend, keyEnd: upTo('0affffff') })).toBe(
      '203.0.113.1 . tcp . 80 . 10.0.0.0/8',
    );
    expect(text({ set: 'allowed', key: frontend, keyEnd: upTo('0a000005') })).toBe(
      '203.0.113.1 . tcp . 80 . 10.0.0.0-10.0.0.5',
    );
  });
});

describe('sets and chains', () => {
  it('say what they are', () => {
    const key = [{ type: TYPE.ipv6, bytes: 16 }];
    expect(setLines({ name: 's', flags: SET.timeout | SET.interval, key, size: 7, comment: 'c' })).toEqual([
      'type ipv6_addr',
      'size 7',
      'flags interval,timeout',
      'comment "c"',
    ]);
  });

  it('have the names of priorities only at the hooks that have them', () => {
    expect(baseLine({ type: 'nat', hook: 0, priority: -100 })).toBe(
      'type nat hook prerouting priority dstnat; policy accept;',
    );
    expect(baseLine({ type: 'nat', hook: 3, priority: -100 })).toBe(
      'type nat hook output priority -100; policy accept;',
    );
  });
});

describe('durationText', () => {
  it.each([
    [500n, '500ms'],
    [60_000n, '1m'],
    [90_061_000n, '1d1h1m1s'],
    [0n, '0s'],
  ])('%s ms is %s', (ms, text) => expect(durationText(ms)).toBe(text));
});
