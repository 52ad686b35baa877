import { describe, expect, test } from 'vitest';
import { chainsOf, jumpsOf } from '../../../../src/cni/rules/iptables-rules.ts';
import { Ledger } from '../../../../src/cni/rules/ledger.ts';
import type { PodRules } from '../../../../src/cni/rules/pod-rules.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import { pod, tcp } from './pods.ts';

/** Chains as text, for pods in a node that excepts a network of each family. */
function written(pods: readonly PodRules[], family: IPFamily): Readonly<Record<string, readonly string[]>> {
  const ledger = new Ledger(['192.0.2.0/24', '2001:db8::/32']);
  for (const each of pods) ledger.set(each.key, each);
  const chains = [...chainsOf(ledger, family)];
  return Object.fromEntries(chains.map(([chain, rules]) => [chain, rules.map(({ text }) => text)]));
}

const dual = (fields: Partial<PodRules> = {}) =>
  pod(2, { addresses: ['10.88.0.2', 'fd00:88::2'], networks: ['10.88.0.0/24', 'fd00:88::/64'], ...fields });

describe('rules of pods in iptables', () => {
  test('A19, P01: all of a pod in IPv4', () => {
    expect(written([dual({ hostPorts: [tcp()] })], 'IPv4')).toEqual({
      'KPROXY-CNI-HOSTPORT': [
        '-p tcp -m tcp --dport 8080 -m comment --comment "net/c2/eth0" -j DNAT --to-destination 10.88.0.2:80',
      ],
      'KPROXY-CNI-HOSTMASQ': [
        '-s 10.88.0.0/24 -d 10.88.0.2/32 -p tcp -m tcp --dport 80 -m conntrack --ctorigdstport 8080 -m comment --comment "net/c2/eth0" -j MASQUERADE --random-fully',
      ],
      'KPROXY-CNI-MASQ': [
        '-s 10.88.0.0/24 -m conntrack --ctstate DNAT -j KPROXY-CNI-HOSTMASQ',
        '-s 127.0.0.0/8 ! -o lo -m conntrack --ctstate DNAT -j MASQUERADE --random-fully',
        '-s 10.88.0.0/24 -j KPROXY-CNI-PODMASQ',
      ],
      'KPROXY-CNI-PODMASQ': [
        '-d 224.0.0.0/4 -j RETURN',
        '-d 10.88.0.0/24 -j RETURN',
        '-d 192.0.2.0/24 -j RETURN',
        '-s 10.88.0.2/32 -m comment --comment "net/c2/eth0" -j MASQUERADE --random-fully',
      ],
      'KPROXY-CNI-LOCALNET': [
        '-d 127.0.0.0/8 ! -i lo -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
        '-s 127.0.0.0/8 ! -i lo -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
      ],
    });
  });

  test('A19, P01: all of a pod in IPv6, of which nothing is sent from ::1', () => {
    expect(written([dual({ hostPorts: [tcp({ hostIP: '2001:db8::1', protocol: 'udp' })] })], 'IPv6')).toEqual({
      'KPROXY-CNI-HOSTPORT': [
        '-d 2001:db8::1/128 -p udp -m udp --dport 8080 -m comment --comment "net/c2/eth0" -j DNAT --to-destination [fd00:88::2]:80',
      ],
      'KPROXY-CNI-HOSTMASQ': [
        '-s fd00:88::/64 -d fd00:88::2/128 -p udp -m udp --dport 80 -m conntrack --ctorigdst 2001:db8::1 --ctorigdstport 8080 -m comment --comment "net/c2/eth0" -j MASQUERADE --random-fully',
      ],
      'KPROXY-CNI-MASQ': [
        '-s fd00:88::/64 -m conntrack --ctstate DNAT -j KPROXY-CNI-HOSTMASQ',
        '-s fd00:88::/64 -j KPROXY-CNI-PODMASQ',
      ],
      'KPROXY-CNI-PODMASQ': [
        '-d ff00::/8 -j RETURN',
        '-d fd00:88::/64 -j RETURN',
        '-d 2001:db8::/32 -j RETURN',
        '-s fd00:88::2/128 -m comment --comment "net/c2/eth0" -j MASQUERADE --random-fully',
      ],
    });
  });

  test('A19: a pod of a network that is there adds one rule, and no chain; none of it where it is not masqueraded', () => {
    const sizes = (pods: readonly PodRules[]) => Object.values(written(pods, 'IPv4')).map(({ length }) => length);
    const [before, after] = [sizes([pod(2)]), sizes([pod(2), pod(3)])];
    expect(after.reduce((sum, size) => sum + size) - before.reduce((sum, size) => sum + size)).toBe(1);
    expect(after).toHaveLength(before.length);
    expect(sizes([pod(2), pod(3, { masquerade: false, hostPorts: [] })])).toEqual(before);
  });

  test('A19: of a network that is not of pods alone nobody else knows anything', () => {
    const lan = { addresses: ['192.0.3.100'], networks: ['192.0.3.0/24'], areOfPods: false, hostPorts: [tcp()] };
    const chains = written([pod(2), pod(3, lan)], 'IPv4');
    expect(chains['KPROXY-CNI-PODMASQ']!.filter(text => text.includes('192.0.3'))).toEqual([
      '-s 192.0.3.100/32 -d 192.0.3.0/24 -m comment --comment "net/c3/eth0" -j RETURN',
      '-s 192.0.3.100/32 -m comment --comment "net/c3/eth0" -j MASQUERADE --random-fully',
    ]);
    expect(chains['KPROXY-CNI-HOSTMASQ']).toEqual([
      expect.stringMatching(/^-s 192\.0\.3\.0\/24 -d 192\.0\.3\.100\/32 /),
    ]);
  });

  test('P01: hostPorts of one address come before those of all, whoever came first', () => {
    const all = pod(2, { hostPorts: [tcp({ hostIP: '0.0.0.0', hostPort: 81 })] });
    const one = pod(3, { hostPorts: [tcp({ hostIP: '192.0.2.1', hostPort: 82 })] });
    const places = written([all, one], 'IPv4')['KPROXY-CNI-HOSTPORT']!.map(text => /--dport (\d+)/.exec(text)?.[1]);
    expect(places).toEqual(['82', '81']);
  });

  test('what two attachments have in common is there once', () => {
    const chained = { ...pod(2), key: 'net/chained/eth0' };
    expect(written([pod(2), chained], 'IPv4')['KPROXY-CNI-PODMASQ']).toHaveLength(4);
  });

  test('a family in which no pod has anything has no chains', () => {
    expect(written([pod(2)], 'IPv6')).toEqual({});
    expect(written([], 'IPv4')).toEqual({});
  });

  test('P10: hostPorts are looked for behind what Services have, the guard of 127.0.0.0/8 before all others', () => {
    expect(jumpsOf('IPv4').map(({ parent, isFirst }) => [parent, isFirst])).toEqual([
      ['PREROUTING', false],
      ['OUTPUT', false],
      ['POSTROUTING', false],
      ['INPUT', true],
    ]);
    expect(jumpsOf('IPv6').map(({ text }) => text)).toEqual([
      '! -d ::1/128 -m comment --comment "kproxy-ts: pods of this node" -m addrtype --dst-type LOCAL -j KPROXY-CNI-HOSTPORT',
      '! -d ::1/128 -m comment --comment "kproxy-ts: pods of this node" -m addrtype --dst-type LOCAL -j KPROXY-CNI-HOSTPORT',
      '-m comment --comment "kproxy-ts: pods of this node" -j KPROXY-CNI-MASQ',
    ]);
  });
});
