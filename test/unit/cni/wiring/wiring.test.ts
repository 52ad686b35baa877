import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CODE } from '../../../../src/cni/types.ts';
import { bucketOf } from '../../../../src/cni/wiring/bandwidth.ts';
import { planAddresses } from '../../../../src/cni/wiring/bridge.ts';
import { aliasOf, hostLinkOf, isOwnAlias, macFor, parseAlias, shaperOf } from '../../../../src/cni/wiring/names.ts';
import { kernelRoute, routesFor } from '../../../../src/cni/wiring/routes.ts';
import type { LinkSpec } from '../../../../src/cni/wiring/specs.ts';
import { rangesOf } from '../../../../src/cni/wiring/vlan.ts';

const ID = { network: 'kp', containerID: 'c1', ifname: 'eth0' };
const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,40}$/);

describe("names of pods' links", () => {
  it('are at most 15 characters, and the same for the same attachment alone', () => {
    expect(hostLinkOf(ID)).toMatch(/^veth[0-9a-f]{11}$/);
    expect(shaperOf(hostLinkOf(ID))).toMatch(/^kpbw[0-9a-f]{11}$/);
    expect(hostLinkOf({ ...ID })).toBe(hostLinkOf(ID));
    expect(hostLinkOf({ ...ID, ifname: 'net1' })).not.toBe(hostLinkOf(ID));
  });

  it('an alias tells whose a link is', () => {
    fc.assert(
      fc.property(name, name, name, (network, containerID, ifname) => {
        const id = { network, containerID, ifname };
        expect(parseAlias(aliasOf(id))).toEqual(id);
        expect(isOwnAlias(aliasOf(id))).toBe(true);
      }),
    );
  });

  it('an alias of too long names is a hash of them, which fits', () => {
    const alias = aliasOf({ ...ID, containerID: 'c'.repeat(250) });
    expect(alias).toMatch(/^kproxy-ts-cni #[0-9a-f]{64}$/);
    expect([parseAlias(alias), isOwnAlias(alias)]).toEqual([undefined, true]);
  });

  it("others' aliases are nobody's", () => {
    for (const alias of ['', 'cali0 a b c', 'kproxy-ts-cni', 'kproxy-ts-cni a b', 'kproxy-ts-cni a b c d'])
      expect(parseAlias(alias)).toBeUndefined();
    expect(isOwnAlias('kproxy-ts-cnix a b c')).toBe(false);
  });

  it('a MAC follows from the IPv4 address, or from the name', () => {
    expect(macFor(['fd00::2/64', '10.88.0.255/16'], 'x')).toBe('0a:58:0a:58:00:ff');
    expect(macFor(['fd00::2/64'], 'x')).toMatch(/^0e(:[0-9a-f]{2}){5}$/);
  });
});

const spec = (part: Partial<LinkSpec>) =>
  ({
    addresses: [
      { address: '10.88.0.2/24', gateway: '10.88.0.1' },
      { address: 'fd00::2/64', gateway: 'fd00::1' },
    ],
    routes: [],
    isDefaultGateway: false,
    ...part,
  }) as unknown as LinkSpec;

describe('routes of a pod', () => {
  it('get the gateway of their family, unless they have one or are of the link', () => {
    const routes = [
      { dst: '10.1.0.0/16' },
      { dst: 'fd01::/64' },
      { dst: '10.2.0.0/16', gw: '10.88.0.9' },
      { dst: '10.3.0.0/16', scope: 253 },
    ];
    expect(routesFor(spec({ routes })).map(({ gw }) => gw)).toEqual(['10.88.0.1', 'fd00::1', '10.88.0.9', undefined]);
  });

  it('get the default routes that are missing', () => {
    expect(routesFor(spec({ isDefaultGateway: true }))).toEqual([
      { dst: '0.0.0.0/0', gw: '10.88.0.1' },
      { dst: '::/0', gw: 'fd00::1' },
    ]);
    const routes = [{ dst: '0.0.0.0/0', gw: '10.88.0.9' }];
    expect(routesFor(spec({ isDefaultGateway: true, routes }))).toEqual([...routes, { dst: '::/0', gw: 'fd00::1' }]);
  });

  it('say that a far gateway is on the link', () => {
    const addresses = [{ address: '10.88.0.2/32', gateway: '169.254.1.1' }];
    expect(kernelRoute({ dst: '10.0.0.0/8', gw: '1.2.3.4' }, addresses)).toMatchObject({ isOnlink: false });
    expect(kernelRoute({ dst: '0.0.0.0/0', gw: '169.254.1.1' }, addresses)).toMatchObject({ isOnlink: true });
    expect(kernelRoute({ dst: '10.1.2.3/8', gw: '10.88.0.2' }, addresses)).toMatchObject({
      dst: '10.0.0.0/8',
      isOnlink: false,
    });
  });
});

describe('limits of traffic', () => {
  it('have a burst of their own where none is given, or an absurd one', () => {
    const own = { rate: 1_250_000, burst: 15_140, limit: 46_390 };
    expect(bucketOf(10e6, 0, 1500)).toEqual(own);
    expect(bucketOf(10e6, 0xffff_ffff, 1500)).toEqual(own);
    expect(bucketOf(10e9, 0, 1500).burst).toBe(12_500_000);
  });

  it('take the burst that is given, as long as a packet fits', () => {
    expect(bucketOf(10e6, 8e6, 1500).burst).toBe(1_000_000);
    expect(bucketOf(10e6, 8, 1500).burst).toBe(1514);
  });
});

describe("addresses of a pods' bridge", () => {
  const there = (...texts: string[]) =>
    texts.map(text => ({
      index: 2,
      ip: text.replace(/\/.*/, ''),
      length: Number(text.replace(/.*\//, '')),
      isTentative: false,
      protocol: 0,
    }));
  const bridge = { name: 'cni0', forceAddress: false };

  it('are added where they are missing', () => {
    expect(planAddresses(there('10.88.0.1/24', 'fe80::1/64'), ['10.88.0.1/24', 'fd00::1/64'], bridge)).toEqual({
      missing: ['fd00::1/64'],
      inTheWay: [],
    });
  });

  it('of IPv4 are in the way of another, of IPv6 those that overlap', () => {
    expect(() => planAddresses(there('10.78.0.1/24'), ['10.88.0.1/24'], bridge)).toThrow(
      expect.objectContaining({ code: CODE.bridgeConflict }),
    );
    expect(planAddresses(there('fd00:1::1/64'), ['fd00:2::1/64'], bridge).inTheWay).toEqual([]);
    expect(() => planAddresses(there('fd00:1::1/64'), ['fd00:1::2/64'], bridge)).toThrow(/already has/);
  });

  it('go where that is asked for, but not those that are wanted too', () => {
    const force = { ...bridge, forceAddress: true };
    expect(
      planAddresses(there('10.78.0.1/24', '10.99.0.1/24'), ['10.88.0.1/24', '10.99.0.1/24'], force).inTheWay,
    ).toEqual(['10.78.0.1/24']);
  });
});

describe('trunks', () => {
  it('are single VLANs, ranges, or both', () => {
    expect(rangesOf({ id: 101, minID: 200, maxID: 210 }).map(({ from, to }) => [from, to])).toEqual([
      [101, 101],
      [200, 210],
    ]);
  });
});
