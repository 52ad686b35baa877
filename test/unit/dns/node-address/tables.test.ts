import { expect, it } from 'vitest';
import { printRule } from '../../../../src/backends/nftables/print.ts';
import { guardTable, serverTableSpec, type TableSpec } from '../../../../src/dns/node-address/tables.ts';

/** Each chain with its rules, as nft prints them. */
function textOf({ chains, family }: TableSpec): Record<string, string[]> {
  return Object.fromEntries(chains.map(({ name, rules }) => [name, rules.map(rule => printRule(rule, family))]));
}

const server = (family: 'IPv4' | 'IPv6', ip: string) =>
  serverTableSpec(family, { id: 'x', pid: 7, addresses: [{ ip, port: 53, beatPort: 40_000 }] });

it('what is addressed to the server passes conntrack by, while it gives signs of life', () => {
  const { arriving, 'sent-by-node': sent, 'tcp-connections': connections } = textOf(server('IPv4', '10.96.0.10'));
  const to = 'ip daddr . meta l4proto . th dport';
  const tuple = 'ip saddr . th sport . ip daddr . th dport';
  expect(arriving).toEqual([
    `${to} != @ports accept comment "not to the server"`,
    'jump tcp-connections',
    `${to} @serving meta l4proto udp socket wildcard 0 notrack accept comment "a question, while the server answers"`,
    `${to} @serving socket wildcard 0 meta l4proto tcp tcp flags syn update @connections { ${tuple} timeout 30s } notrack accept comment "a new connection, while the server answers"`,
  ]);
  expect(sent).toEqual([
    'ip saddr . meta l4proto . th sport @ports notrack accept comment "an answer of the server"',
    'meta l4proto udp ip saddr 10.96.0.10 ip daddr 10.96.0.10 th sport 40000 th dport 40000 update @serving { ip daddr . 0x11 . 0x0035 timeout 1s } update @serving { ip daddr . 0x06 . 0x0035 timeout 1s } notrack comment "a sign of life of the server"',
    `${to} != @ports accept comment "not to the server"`,
    'jump tcp-connections',
    `${to} @serving meta l4proto udp notrack accept comment "a question of this node"`,
    `${to} @serving meta l4proto tcp tcp flags syn update @connections { ${tuple} timeout 30s } notrack accept comment "a new one of this node"`,
  ]);
  expect(connections).toEqual([
    `meta l4proto tcp tcp flags fin,rst ${tuple} @connections update @connections { ${tuple} timeout 30s } notrack accept comment "ends"`,
    `meta l4proto tcp tcp flags psh ${tuple} @connections update @connections { ${tuple} timeout 2m } notrack accept comment "data"`,
    `meta l4proto tcp tcp flags ! syn ${tuple} @connections notrack accept`,
    `meta l4proto tcp tcp flags syn ${to} @serving ${tuple} @connections notrack accept comment "a SYN sent again"`,
  ]);
});

it('IPv6 differs in nothing but the form of addresses', () => {
  const [four, six] = [server('IPv4', '10.96.0.10'), server('IPv6', 'fd00::a')].map(spec =>
    JSON.stringify(textOf(spec)),
  );
  expect(six).toBe(
    four!.replaceAll('ip saddr', 'ip6 saddr').replaceAll('ip daddr', 'ip6 daddr').replaceAll('10.96.0.10', 'fd00::a'),
  );
});

it('the table of a server goes with its process; the guard stays', () => {
  expect([server('IPv4', '10.96.0.10').flags, guardTable('IPv4', ['10.96.0.10']).flags]).toEqual([2, 0]);
});

it('to other ports, whoever listens at all addresses is not reached; sources that leave the node are rewritten', () => {
  expect(textOf(guardTable('IPv4', ['10.96.0.10']))).toEqual({
    'other-ports': [
      'ip daddr != @addresses accept comment "no such address"',
      'ct state ! new accept comment "not the first of its flow"',
      'socket wildcard 0 accept comment "a program is bound to this very address"',
      'reject with tcp reset comment "as for any port that a Service lacks"',
      'meta l4proto udp reject comment "as for any port that a Service lacks"',
    ],
    sources: [
      'ip saddr @addresses oifname != "lo" masquerade fully-random comment "of this node\'s own clients, on their way to another endpoint"',
    ],
  });
});
