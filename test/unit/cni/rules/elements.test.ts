import { describe, expect, test } from 'vitest';
import {
  elementsOf,
  hostPortFamilies,
  hostPortsAmong,
  intervalElements,
  macBytes,
} from '../../../../src/cni/rules/elements.ts';
import { addressText } from '../../../../src/net/address-bytes.ts';
import { parseCIDR } from '../../../../src/net/cidr.ts';
import { pod, tcp } from './pods.ts';

/** `first..end`, as nft would print them. */
function ranges(...texts: readonly string[]): string[] {
  return intervalElements(texts.map(text => parseCIDR(text)!)).map(
    ({ key, isEnd }) => `${isEnd === true ? '<' : ''}${addressText(key)}`,
  );
}

describe('ranges of a set with intervals', () => {
  test('each is its first address and the first one behind it', () => {
    expect(ranges('10.88.0.0/24')).toEqual(['10.88.0.0', '<10.88.1.0']);
    expect(ranges('fd00:88::/64')).toEqual(['fd00:88::', '<fd00:88:0:1::']);
  });

  test('those that overlap, touch, or are there twice are one', () => {
    expect(ranges('10.88.1.0/24', '10.88.0.0/24')).toEqual(['10.88.0.0', '<10.88.2.0']);
    expect(ranges('10.88.0.0/24', '10.0.0.0/8', '10.88.0.0/24')).toEqual(['10.0.0.0', '<11.0.0.0']);
    expect(ranges('10.88.2.0/24', '10.88.0.0/24')).toEqual(['10.88.0.0', '<10.88.1.0', '10.88.2.0', '<10.88.3.0']);
  });

  test('one up to the last address has no end', () => {
    expect(ranges('240.0.0.0/4')).toEqual(['240.0.0.0']);
    expect(ranges('0.0.0.0/0')).toEqual(['0.0.0.0']);
    expect(ranges('ff00::/8')).toEqual(['ff00::']);
    expect(ranges()).toEqual([]);
  });
});

describe('elements of a pod', () => {
  const texts = (fields: Parameters<typeof pod>[1]) =>
    elementsOf(pod(2, fields)).map(({ family, set, element, what }) => {
      const data = element.data instanceof Uint8Array ? ` : ${element.data.toString('hex')}` : '';
      return `${family} ${set} ${element.key.toString('hex')}${data} (${what})`;
    });

  test('its addresses, where its network is masqueraded', () => {
    expect(texts({ addresses: ['10.88.0.2', 'fd00::2'] })).toEqual([
      'IPv4 masqueraded-pods 0a580002 (the masquerade of 10.88.0.2)',
      'IPv6 masqueraded-pods fd000000000000000000000000000002 (the masquerade of fd00::2)',
    ]);
    expect(texts({ masquerade: false })).toEqual([]);
  });

  test('P01 a hostPort of all addresses is in both families of a pod, SCTP like the others; one of an address in its own', () => {
    const sctp = tcp({ protocol: 'sctp', hostIP: '192.0.2.1', containerPort: 81 });
    expect(texts({ masquerade: false, addresses: ['10.88.0.2', 'fd00::2'], hostPorts: [tcp(), sctp] })).toEqual([
      'IPv4 host-ports 00000000060000001f900000 : 0a58000200500000 (hostPort 8080/tcp to 10.88.0.2)',
      'IPv6 host-ports 00000000000000000000000000000000060000001f900000 : fd00000000000000000000000000000200500000 (hostPort 8080/tcp to fd00::2)',
      'IPv4 host-ports c0000201840000001f900000 : 0a58000200510000 (hostPort 192.0.2.1 8080/sctp to 10.88.0.2)',
      'IPv4 own-networks 0a5800020a580000 (the network 10.88.0.0/24 of 10.88.0.2)',
    ]);
  });

  test('P05 an address of a family that the pod lacks takes nothing', () => {
    expect(hostPortFamilies({ hostIP: 'fd00::1' }, ['10.88.0.2'])).toEqual([]);
    expect(hostPortFamilies({ hostIP: '::' }, ['10.88.0.2', 'fd00::2'])).toEqual(['IPv6']);
    expect(texts({ masquerade: false, hostPorts: [tcp({ hostIP: 'fd00::1' })] })).toEqual([]);
  });

  test('A10 what it may send from, beside the source of who has no address yet', () => {
    const spoof = { hostLink: 'veth0', mac: '02:00:00:00:00:0a', ips: ['10.88.0.2'] };
    const elements = elementsOf(pod(2, { masquerade: false, spoof }));
    expect(elements.map(({ set, what }) => `${set}: ${what}`)).toEqual([
      'mac-checked: the check of source MAC addresses (veth0)',
      'macs: the source MAC address 02:00:00:00:00:0a (veth0)',
      'ip-checked: the check of source addresses (veth0)',
      'ipv4-sources: the source 10.88.0.2 (veth0)',
      'ipv4-sources: the source 0.0.0.0 (veth0)',
      'ipv6-sources: the source :: (veth0)',
    ]);
    expect(elements[1]!.element.key.toString('hex')).toBe(
      `${Buffer.from('veth0').toString('hex').padEnd(32, '0')}02000000000a0000`,
    );
    expect(() => macBytes('02:00:00')).toThrow('not a MAC address');
  });
});

describe('hostPorts among elements', () => {
  const dual = ['10.88.0.2', 'fd00::2'];
  const setsOf = (...pods: readonly ReturnType<typeof pod>[]) => {
    const all = pods.flatMap(elementsOf).filter(({ set }) => set === 'host-ports');
    const of = (family: string) => all.filter(each => each.family === family).map(({ element }) => element);
    return { IPv4: of('IPv4'), IPv6: of('IPv6') };
  };

  test('F07 are those that the pod was given, whatever address and protocol', () => {
    const hostPorts = [
      tcp(),
      tcp({ protocol: 'udp', hostIP: '192.0.2.1' }),
      tcp({ protocol: 'sctp', hostIP: '2001:db8::1', hostPort: 65_535 }),
      tcp({ hostPort: 81, hostIP: '0.0.0.0' }),
      tcp({ hostPort: 82, hostIP: '::' }),
    ];
    const own = pod(2, { addresses: dual, hostPorts });
    const found = hostPortsAmong(setsOf(own), own);
    expect(new Set(found)).toEqual(new Set(hostPorts));
    expect(found).toHaveLength(hostPorts.length);
  });

  test('F07 of a pod with one family lead to the same elements', () => {
    for (const addresses of [['10.88.0.2'], ['fd00::2']]) {
      const own = pod(2, { addresses, hostPorts: [tcp()] });
      const sets = setsOf(own);
      expect(setsOf(pod(2, { addresses, hostPorts: hostPortsAmong(sets, own) }))).toEqual(sets);
    }
  });

  test("F07 others' aren't, also where a comment was cut or an element has none", () => {
    const long = `net/${'c'.repeat(200)}/`;
    const [one, other] = ['eth0', 'net1'].map((ifname, index) =>
      pod(index + 2, { key: `${long}${ifname}`, hostPorts: [tcp({ hostPort: 8080 + index })] }),
    );
    const sets = setsOf(one!, other!, pod(9, { hostPorts: [tcp({ hostPort: 8090 })] }));
    expect(hostPortsAmong(sets, one!)).toMatchObject([{ hostPort: 8080 }]);
    expect(hostPortsAmong(sets, other!)).toMatchObject([{ hostPort: 8081 }]);
    const nameless = { ...sets, IPv4: sets.IPv4.map(({ key, data }) => ({ key, ...(data && { data }) })) };
    expect(hostPortsAmong(nameless, one!)).toEqual([]);
  });
});
