import { expect, test } from 'vitest';
import { printRule } from '../../../../src/backends/nftables/print.ts';
import { tableSpec } from '../../../../src/cni/rules/tables.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';

const rulesOf = (family: IPFamily, chain: string) =>
  tableSpec(family)
    .chains.find(({ name }) => name === chain)!
    .rules.map(({ expressions }) => printRule({ expressions }, family));

test('A19 what leaves for multicast or for ranges that know the pods keeps its source', () => {
  expect(rulesOf('IPv4', 'nat-postrouting').at(-1)).toBe(
    'ip saddr @masqueraded-pods ip daddr != @unmasqueraded-ranges ip daddr != 224.0.0.0/4 ip saddr . ip daddr != @own-networks masquerade fully-random',
  );
  expect(rulesOf('IPv6', 'nat-postrouting').at(-1)).toBe(
    'ip6 saddr @masqueraded-pods ip6 daddr != @unmasqueraded-ranges ip6 daddr != ff00::/8 ip6 saddr . ip6 daddr != @own-networks masquerade fully-random',
  );
});

test('P10 chains come behind those of Services, so that a NodePort wins over a hostPort', () => {
  const priorities = tableSpec('IPv4').chains.flatMap(({ base }) => (base?.type === 'nat' ? [base.priority] : []));
  expect(priorities).toEqual([-90, -90, 101]);
});

test('tables of the same rules have the same comment, others another one', () => {
  expect(tableSpec('IPv4').comment).toBe(tableSpec('IPv4').comment);
  const comments = (['IPv4', 'IPv6', 'bridge'] as const).map(family => tableSpec(family).comment);
  expect(new Set(comments).size).toBe(3);
  expect(comments[0]).toMatch(/^pod networking, rules [0-9a-f]{12}$/);
});
