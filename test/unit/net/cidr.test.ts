import { BlockList } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalCIDR, cidrContains, cidrsOverlap, cidrWithout, hostCIDR, parseCIDR } from '../../../src/net/cidr.ts';
import { canonicalIP, formatIPv4, formatIPv6, ipFamily } from '../../../src/net/ip.ts';

const ipv4 = fc.integer({ min: 0, max: 0xffffffff }).map(formatIPv4);
const ipv6 = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 }).map(formatIPv6);
/** An address and a range: random ones seldom meet, so half of the ranges start from the address itself. */
const pair = (address: fc.Arbitrary<string>, maxLength: number) =>
  fc
    .tuple(address, address, fc.boolean(), fc.integer({ min: 0, max: maxLength }))
    .map(([ip, other, near, length]) => ({ ip, base: near ? ip : other, length }));

describe('parseCIDR', () => {
  it.each([
    ['10.0.0.0/8', '10.0.0.0/8', 'IPv4'],
    [' 203.0.113.0/25', '203.0.113.0/25', 'IPv4'],
    ['10.1.2.3/8', '10.0.0.0/8', 'IPv4'],
    ['010.1.2.003/32', '10.1.2.3/32', 'IPv4'],
    ['0.0.0.0/0', '0.0.0.0/0', 'IPv4'],
    ['255.255.255.255/1', '128.0.0.0/1', 'IPv4'],
    ['FD00:10:96::/112', 'fd00:10:96::/112', 'IPv6'],
    ['2001:db8::1/33', '2001:db8::/33', 'IPv6'],
    ['::/0', '::/0', 'IPv6'],
    ['2001:db8::ffff/127', '2001:db8::fffe/127', 'IPv6'],
  ])('reads %j as %s', (text, expected, family) => {
    expect(parseCIDR(text)).toMatchObject({ text: expected, family });
  });

  it.each([
    '',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '::/129',
    '::/a',
    '/8',
    '1.2.3.4/ 8',
  ])('refuses %j', text => {
    expect(parseCIDR(text)).toBeUndefined();
  });

  it('is idempotent on its own text', () => {
    fc.assert(
      fc.property(fc.oneof(pair(ipv4, 32), pair(ipv6, 128)), ({ base, length }) => {
        const text = canonicalCIDR(`${base}/${length}`);
        expect(text).toBeDefined();
        expect(canonicalCIDR(text ?? '')).toBe(text);
      }),
    );
  });
});

describe('cidrContains', () => {
  it('agrees with node:net', () => {
    fc.assert(
      fc.property(fc.oneof(pair(ipv4, 32), pair(ipv6, 128)), ({ ip, base, length }) => {
        const type = ipFamily(base) === 'IPv4' ? 'ipv4' : 'ipv6';
        const list = new BlockList();
        list.addSubnet(base, length, type);
        const cidr = parseCIDR(`${base}/${length}`);
        expect(cidr && cidrContains(cidr, ip)).toBe(list.check(ip, type));
      }),
      { numRuns: 2000 },
    );
  });

  it('is false for the other family', () => {
    const [v4, v6] = [parseCIDR('0.0.0.0/0'), parseCIDR('::/0')];
    expect(v4 && cidrContains(v4, '::1')).toBe(false);
    expect(v6 && cidrContains(v6, '10.0.0.1')).toBe(false);
  });
});

describe('ranges among each other', () => {
  it('overlap when one holds the other', () => {
    const range = (text: string) => parseCIDR(text) ?? hostCIDR('0.0.0.0');
    expect(cidrsOverlap(range('10.0.0.0/8'), range('10.9.0.0/16'))).toBe(true);
    expect(cidrsOverlap(range('10.9.0.0/16'), range('10.0.0.0/8'))).toBe(true);
    expect(cidrsOverlap(range('10.9.0.0/16'), range('10.8.0.0/16'))).toBe(false);
    expect(cidrsOverlap(range('0.0.0.0/0'), range('::/0'))).toBe(false);
  });

  it('without another, hold what the first holds and the other does not', () => {
    const texts = (a: string, b: string) => cidrWithout(parseCIDR(a)!, parseCIDR(b)!).map(({ text }) => text);
    expect(texts('64.0.0.0/2', '127.0.0.0/8')).toEqual([
      '64.0.0.0/3',
      '96.0.0.0/4',
      '112.0.0.0/5',
      '120.0.0.0/6',
      '124.0.0.0/7',
      '126.0.0.0/8',
    ]);
    expect(texts('127.0.0.1/32', '127.0.0.0/8')).toEqual([]);
    expect(texts('10.0.0.0/8', '127.0.0.0/8')).toEqual(['10.0.0.0/8']);
    const range = (address: fc.Arbitrary<string>, most: number) =>
      fc.tuple(address, fc.integer({ min: 0, max: most })).map(([ip, length]) => parseCIDR(`${ip}/${length}`)!);
    const near = (cidr: string, most: number) =>
      fc.integer({ min: 0, max: most }).map(length => parseCIDR(`${cidr}/${length}`)!);
    const triples = fc.oneof(
      fc.tuple(range(ipv4, 32), range(ipv4, 32), ipv4),
      fc.tuple(range(ipv6, 128), range(ipv6, 128), ipv6),
      fc.tuple(near('127.0.0.1', 32), near('127.0.0.1', 32), fc.constantFrom('127.0.0.1', '127.0.0.2', '126.0.0.0')),
      fc.tuple(near('::1', 128), near('::1', 128), fc.constantFrom('::1', '::', '1::')),
    );
    fc.assert(
      fc.property(triples, ([cidr, hole, ip]) => {
        const left = cidrWithout(cidr, hole).filter(part => cidrContains(part, ip)).length;
        expect(left).toBe(cidrContains(cidr, ip) && !cidrContains(hole, ip) ? 1 : 0);
      }),
    );
  });

  it('a host range holds exactly its address', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), fc.oneof(ipv4, ipv6), (a, b) => {
        expect(cidrContains(hostCIDR(canonicalIP(a) ?? ''), b)).toBe(canonicalIP(a) === canonicalIP(b));
      }),
    );
  });
});
