import { describe, expect, it } from 'vitest';
import { attributesIn, messagesIn, readHostWord } from '../../../src/netfilter/attributes.ts';
import { newAddress, newRoute, readAddress, readRoutes } from '../../../src/rtnetlink/addresses.ts';
import {
  encodeAttributes,
  encodeRequests,
  HEADER,
  macBytes,
  macText,
  splitPrefix,
  u8,
  u16,
  u32,
} from '../../../src/rtnetlink/encoding.ts';
import { changeLink, changeVlans, newVeth, readLink } from '../../../src/rtnetlink/links.ts';
import { newTokenBucket } from '../../../src/rtnetlink/traffic-control.ts';

describe('requests of rtnetlink', () => {
  it('pads attributes to four bytes, and marks those that hold others', () => {
    expect(
      encodeAttributes([
        [1, u8(7)],
        [2, [[3, u16(9)]]],
      ]),
    ).toEqual(
      Buffer.concat([u16(5), u16(1), Buffer.of(7, 0, 0, 0), u16(12), u16(2 | 0x8000), u16(6), u16(3), u16(9), u16(0)]),
    );
  });

  it('refuses an attribute that its length cannot say', () => {
    expect(() => encodeAttributes([[1, Buffer.alloc(65_536)]])).toThrow(RangeError);
  });

  it('numbers requests one after the other, each with its own length', () => {
    const messages = [...messagesIn(encodeRequests([newAddress(3, '10.0.0.1/24'), newRoute(3, { dst: '::/0' })], 40))];
    expect(messages.map(({ type, sequence, flags }) => [type, sequence, flags])).toEqual([
      [20, 40, 0x601],
      [24, 41, 0x401],
    ]);
  });

  it('writes addresses as it reads them', () => {
    for (const cidr of ['10.88.0.2/24', 'fd00:88::2/64', '10.0.0.1/32']) {
      const { ip, length } = splitPrefix(cidr);
      for (const protocol of [0, 0x6b]) {
        const [message] = [...messagesIn(encodeRequests([newAddress(7, cidr, { protocol })], 1))];
        expect(readAddress(message!)).toEqual({ index: 7, ip, length, isTentative: false, protocol });
      }
    }
  });

  it('gives an IPv4 address its broadcast address, where there is one', () => {
    const broadcast = (cidr: string) => {
      const [message] = [...messagesIn(encodeRequests([newAddress(7, cidr)], 1))];
      return attributesIn(message!.bytes.subarray(HEADER + 8)).get(4);
    };
    expect(broadcast('10.88.3.2/20')).toEqual(Buffer.of(10, 88, 15, 255));
    expect(broadcast('10.88.3.2/31')).toBeUndefined();
  });

  it('writes routes as it reads them', () => {
    for (const route of [
      { dst: '0.0.0.0/0', gw: '10.88.0.1', index: 4, table: 254, priority: 0 },
      { dst: '10.3.0.0/16', gw: undefined, index: 4, table: 1003, priority: 77 },
      { dst: 'fd00:1::/64', gw: 'fd00::1', index: 4, table: 254, priority: 1 },
    ]) {
      const [message] = [...messagesIn(encodeRequests([newRoute(4, { ...route, mtu: 1400 })], 1))];
      expect(readRoutes(message!)).toEqual([route]);
    }
  });

  it('writes a change of a link as the kernel would tell of it', () => {
    const [message] = [
      ...messagesIn(encodeRequests([changeLink('veth1', { alias: 'kp c1', set: 1, mac: '0a:58:00:00:00:01' })], 1)),
    ];
    expect(readLink(message!)).toMatchObject({ name: 'veth1', alias: 'kp c1', isUp: true, mac: '0a:58:00:00:00:01' });
  });

  it("puts the peer's header before its attributes", () => {
    const peer = { name: 'eth0', mac: '0a:58:0a:58:00:02', netnsFd: 5 };
    const [message] = [...messagesIn(encodeRequests([newVeth({ name: 'veth1', mac: '0e:00:00:00:00:01', peer })], 1))];
    const info = attributesIn(attributesIn(message!.bytes.subarray(HEADER + 16)).get(18)!);
    const peerInfo = attributesIn(info.get(2)!).get(1)!;
    const inPeer = attributesIn(peerInfo.subarray(16));
    expect(inPeer.get(3)).toEqual(Buffer.from('eth0\0'));
    expect(readHostWord(inPeer.get(28)!)).toBe(5);
  });

  it('says a range of VLANs by its ends', () => {
    const { attributes } = changeVlans(3, { from: 200, to: 210, isAccess: false });
    expect(attributes).toEqual([
      [
        26,
        [
          [2, Buffer.concat([u16(8), u16(200)])],
          [2, Buffer.concat([u16(16), u16(210)])],
        ],
      ],
    ]);
    const access = changeVlans(3, { from: 100, to: 100, isAccess: true }, { isRemoval: true });
    expect([access.type, access.attributes]).toEqual([17, [[26, [[2, Buffer.concat([u16(6), u16(100)])]]]]]);
  });

  it('says rates beyond 32 bits in 64', () => {
    const options = (rate: number) =>
      newTokenBucket(3, { rate, burst: 1e6, limit: 1e6 }).attributes[1]![1] as readonly [number, Buffer][];
    expect(options(1e6).map(([type]) => type)).toEqual([1, 6]);
    expect(options(1e10).map(([type]) => type)).toEqual([1, 6, 4]);
    expect(options(1e10)[2]![1].readBigUInt64LE()).toBe(10_000_000_000n);
    expect(options(1e10)[0]![1].subarray(8, 12)).toEqual(u32(0xffff_ffff));
  });

  it('reads a MAC as it wrote it', () => {
    expect(macText(macBytes('0a:58:0a:58:00:02'))).toBe('0a:58:0a:58:00:02');
  });
});
