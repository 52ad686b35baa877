import { describe, expect, test } from 'vitest';
import { nftablesObstacle } from '../../../../src/cni/rules/choose.ts';
import { chainsOf, ownLines, removalText, restoreText } from '../../../../src/cni/rules/iptables-text.ts';
import { NetlinkError } from '../../../../src/linux/nfnetlink.ts';
import { pod, tcp } from './pods.ts';

const ipv4 = { networks: ['10.88.0.0/24'], unmasqueraded: ['10.88.0.0/24', '10.0.0.0/8'] };
const rulesOf = (chains: ReturnType<typeof chainsOf>, name: string) =>
  chains.find(chain => chain.name === `KPROXY-CNI-${name}`)?.rules;

describe('rules of pods as iptables-restore takes them', () => {
  const two = [
    pod(2, { hostPorts: [tcp(), tcp({ hostPort: 53, protocol: 'udp', containerPort: 5353 })] }),
    pod(3, { masquerade: false, hostPorts: [tcp({ hostIP: '192.0.2.1', hostPort: 8081 })] }),
  ];

  test('A19, P01: three chains, with a rule for each hostPort and each pod that is masqueraded', () => {
    const chains = chainsOf('IPv4', { ...ipv4, pods: two });
    expect(rulesOf(chains, 'HOSTPORT')).toEqual([
      '-A KPROXY-CNI-HOSTPORT -d 192.0.2.1/32 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.88.0.3:80',
      '-A KPROXY-CNI-HOSTPORT -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.88.0.2:80',
      '-A KPROXY-CNI-HOSTPORT -p udp -m udp --dport 53 -j DNAT --to-destination 10.88.0.2:5353',
    ]);
    expect(rulesOf(chains, 'MASQ')?.slice(3)).toEqual([
      '-A KPROXY-CNI-MASQ -s 127.0.0.0/8 ! -o lo -m conntrack --ctstate DNAT -j MASQUERADE --random-fully',
      '-A KPROXY-CNI-MASQ -d 10.88.0.0/24 -j RETURN',
      '-A KPROXY-CNI-MASQ -d 10.0.0.0/8 -j RETURN',
      '-A KPROXY-CNI-MASQ -d 224.0.0.0/4 -j RETURN',
      '-A KPROXY-CNI-MASQ -s 10.88.0.2/32 -j MASQUERADE --random-fully',
    ]);
    expect(chains).toHaveLength(3);
  });

  test('P01: of IPv6 there is nothing for 127.0.0.0/8, and nothing of pods that have none', () => {
    const chains = chainsOf('IPv6', {
      networks: ['fd00::/64'],
      unmasqueraded: [],
      pods: [...two, pod(4, { addresses: ['fd00::4'], hostPorts: [tcp()] })],
    });
    expect(rulesOf(chains, 'HOSTPORT')).toEqual([
      '-A KPROXY-CNI-HOSTPORT -d ::1/128 -j RETURN',
      '-A KPROXY-CNI-HOSTPORT -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::4]:80',
    ]);
    expect(rulesOf(chains, 'MASQ')).toEqual([
      '-A KPROXY-CNI-MASQ -s fd00::/64 -d fd00::4/128 -p tcp -m tcp --dport 80 -m conntrack --ctstate DNAT --ctorigdstport 8080 -j MASQUERADE --random-fully',
      '-A KPROXY-CNI-MASQ -d ff00::/8 -j RETURN',
      '-A KPROXY-CNI-MASQ -s fd00::4/128 -j MASQUERADE --random-fully',
    ]);
    expect(chains).toHaveLength(2);
  });

  test('jumps are made where there are none, or several', () => {
    const chains = chainsOf('IPv4', { ...ipv4, pods: [] });
    const jump = '-A POSTROUTING -j KPROXY-CNI-MASQ';
    const added = (saved: string) =>
      restoreText(chains, saved)
        .split('\n')
        .filter(line => line.includes('POSTROUTING'));
    expect(added('')).toEqual([jump]);
    expect(added(`${jump}\n-A POSTROUTING -j OTHER\n`)).toEqual([]);
    expect(added(`${jump}\n${jump}\n`)).toEqual([...Array(2).fill(jump.replace('-A', '-D')), jump]);
    expect(restoreText(chains, '')).toContain('-I INPUT 1 -j KPROXY-CNI-LOCALNET\n');
  });

  test('what is ours is taken away, and nothing where nothing is', () => {
    const chains = chainsOf('IPv4', { networks: [], unmasqueraded: [], pods: [] });
    const saved =
      '*nat\n:POSTROUTING ACCEPT [0:0]\n:KPROXY-CNI-MASQ - [0:0]\n-A POSTROUTING -j KPROXY-CNI-MASQ\n-A KPROXY-CNI-MASQ -j RETURN\n-A POSTROUTING -j OTHER\nCOMMIT\n';
    expect(removalText(chains, saved)).toBe(
      '*nat\n:KPROXY-CNI-MASQ - [0:0]\n-D POSTROUTING -j KPROXY-CNI-MASQ\n-X KPROXY-CNI-MASQ\nCOMMIT\n',
    );
    expect(removalText(chains, '*nat\n-A POSTROUTING -j OTHER\nCOMMIT\n')).toBe('');
    expect(ownLines(saved)).toEqual(['-A POSTROUTING -j KPROXY-CNI-MASQ', '-A KPROXY-CNI-MASQ -j RETURN']);
  });

  test('they are used where the kernel has no nf_tables, not where it refuses us', async () => {
    const failing = (errno: number) => async () => {
      throw new NetlinkError('NFT_MSG_GETGEN', errno, 'no');
    };
    expect(await nftablesObstacle(async () => 7)).toBeUndefined();
    for (const errno of [22, 93, 95]) expect(await nftablesObstacle(failing(errno))).toContain('no');
    await expect(nftablesObstacle(failing(1))).rejects.toThrow(NetlinkError);
  });
});
