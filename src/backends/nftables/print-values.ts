/** Values as nft writes them. Pure. */

import { readHostWord } from '../../netfilter/attributes.ts';
import { CT_STATE, CT_STATUS_DNAT, FIB, TCP_FLAGS } from '../../netfilter/expressions.ts';

export function quoted(text: string): string {
  return `"${text}"`;
}

/** IANA protocol numbers that nft knows by name, as far as a rule of ours or of a passer-by may have them. */
const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'ipv6-icmp', 132: 'sctp' };

export function protocolText(number: number): string {
  return PROTOCOLS[number] ?? String(number);
}

/** NF_CT_STATE_BIT of linux/netfilter/nf_conntrack_common.h; enum ip_conntrack_status */
const BITS: Readonly<Record<'state' | 'status', readonly (readonly [number, string])[]>> = {
  state: [
    [CT_STATE.invalid, 'invalid'],
    [CT_STATE.established, 'established'],
    [CT_STATE.related, 'related'],
    [CT_STATE.new, 'new'],
    [1 << 6, 'untracked'],
  ],
  status: [
    [1, 'expected'],
    [1 << 1, 'seen-reply'],
    [1 << 2, 'assured'],
    [1 << 3, 'confirmed'],
    [1 << 4, 'snat'],
    [CT_STATUS_DNAT, 'dnat'],
    [1 << 9, 'dying'],
  ],
};

/** The set bits of a flags register by name. */
export function bitNames(kind: keyof typeof BITS, bytes: Buffer): string {
  const value = readHostWord(bytes);
  const known = BITS[kind].filter(([bit]) => (value & bit) !== 0);
  const names = known.map(([, name]) => name);
  return known.reduce((sum, [bit]) => sum + bit, 0) === value ? names.join(',') : `0x${value.toString(16)}`;
}

export function tcpFlagsText(bits: number): string {
  const { offset, ...flags } = TCP_FLAGS;
  return Object.entries(flags)
    .filter(([, bit]) => (bits & bit) !== 0)
    .map(([name]) => name)
    .join(',');
}

/** Whose address a fib expression looks up. */
export function sourcesText(flags: number): string {
  const words = [
    [FIB.saddr, 'saddr'],
    [FIB.daddr, 'daddr'],
  ] as const;
  return words
    .filter(([bit]) => (flags & bit) !== 0)
    .map(([, word]) => word)
    .join(' . ');
}

/** `3h`, `1d1h1m1s`, `500ms`. */
export function durationText(ms: bigint): string {
  const units = [
    ['d', 86_400_000n],
    ['h', 3_600_000n],
    ['m', 60_000n],
    ['s', 1000n],
    ['ms', 1n],
  ] as const;
  let rest = ms;
  let text = '';
  for (const [name, length] of units) {
    if (rest < length) continue;
    text += `${rest / length}${name}`;
    rest %= length;
  }
  return text === '' ? '0s' : text;
}
