import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allowedSources, restricts } from '../../../../src/backends/nftables/source-ranges.ts';
import { cidrContains, cidrsOverlap, parseCIDR } from '../../../../src/net/cidr.ts';
import { sourceRangesOf } from './random-routes.ts';

const cidrs = (ranges: readonly string[]) => ranges.map(range => parseCIDR(range)!);

describe('who is let in', () => {
  it('is whom the ranges name, by elements that have nobody in common', () => {
    const clients = fc.constantFrom('192.0.2.1', '192.0.2.77', '192.0.2.200', '192.0.7.1', '198.19.255.255', '8.8.8.8');
    fc.assert(
      fc.property(sourceRangesOf('IPv4').filter(restricts), clients, (ranges, client) => {
        const allowed = cidrs(allowedSources(ranges));
        const hits = allowed.filter(cidr => cidrContains(cidr, client));
        expect(hits.length).toBe(cidrs(ranges).some(cidr => cidrContains(cidr, client)) ? 1 : 0);
        for (const cidr of allowed) {
          expect(allowed.filter(other => cidrsOverlap(cidr, other))).toEqual([cidr]);
        }
      }),
    );
  });

  it('is everybody where a range has everybody, or there is none', () => {
    expect(allowedSources([])).toEqual([]);
    expect(allowedSources(['192.0.2.0/24', '0.0.0.0/0'])).toEqual([]);
  });
});

describe('an address that the node has itself', () => {
  const nodeIP = '192.0.2.11';

  it.each([
    ['a range has the node', ['192.0.2.0/24'], nodeIP, ['192.0.2.0/24', '203.0.113.7/32']],
    ['no range has the node', ['198.18.0.0/15'], nodeIP, ['198.18.0.0/15']],
    ['a range has the address already', ['192.0.2.0/24', '203.0.113.0/24'], nodeIP, ['192.0.2.0/24', '203.0.113.0/24']],
    ['the address of the node is unknown', ['192.0.2.0/24'], undefined, ['192.0.2.0/24']],
  ])('%s', (_, ranges, address, expected) => {
    expect(allowedSources(ranges, { ownVIP: '203.0.113.7', nodeIP: address })).toEqual(expected);
  });

  it('is let in by IPv6 as well', () => {
    const own = { ownVIP: '2001:db8:2::7', nodeIP: '2001:db8:3::11' };
    expect(allowedSources(['2001:db8:3::/64'], own)).toEqual(['2001:db8:2::7/128', '2001:db8:3::/64']);
  });
});
