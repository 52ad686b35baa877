import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressOfLabel, addressOfReverse, isAboveReverse, labelOfAddress } from '../../../../src/dns/zone/reverse.ts';
import { canonicalIP, formatIPv6, parseIPv6 } from '../../../../src/net/ip.ts';

function reverseOf(ip: string): readonly string[] {
  const groups = ip.includes(':') ? parseIPv6(ip) : undefined;
  if (groups === undefined) return [...ip.split('.').toReversed(), 'in-addr', 'arpa'];
  return [...[...groups.map(group => group.toString(16).padStart(4, '0')).join('')].toReversed(), 'ip6', 'arpa'];
}

const ip = fc.oneof(
  fc.ipV4().map(each => canonicalIP(each)!),
  fc.array(fc.constantFrom(0, 0, 0, 1, 0xabcd), { minLength: 8, maxLength: 8 }).map(formatIPv6),
);

describe('reverse names', () => {
  it('lead to the address that they are of', () => {
    fc.assert(
      fc.property(ip, each => {
        expect(addressOfReverse(reverseOf(each))).toBe(each);
      }),
    );
  });

  it('are above those of addresses as long as something is missing', () => {
    fc.assert(
      fc.property(ip, fc.nat(40), (each, missing) => {
        const labels = reverseOf(each);
        const part = labels.slice(Math.min(missing, labels.length - 2));
        expect([isAboveReverse(part), addressOfReverse(part) !== undefined]).toEqual([missing > 0, missing === 0]);
      }),
    );
  });

  it.each([
    '256.0.0.10.in-addr.arpa',
    '01.0.0.10.in-addr.arpa',
    'x.10.in-addr.arpa',
    '1.1.1.1.1.in-addr.arpa',
    'ab.ip6.arpa',
    '1.10.in-addr.test',
  ])('%s is no address, nor above one', name => {
    expect([addressOfReverse(name.split('.')), isAboveReverse(name.split('.'))]).toEqual([undefined, false]);
  });
});

describe('labels of addresses', () => {
  it('lead back to them, and are labels', () => {
    fc.assert(
      fc.property(ip, each => {
        const label = labelOfAddress(each);
        expect(label).toMatch(/^[0-9a-f][0-9a-f-]*[0-9a-f]$|^[0-9a-f]$/);
        expect(addressOfLabel(label)).toBe(each);
      }),
    );
  });

  it.each([
    ['5678:abcd::1', '5678-abcd--1'],
    ['2001:db8::', '2001-db8--0'],
    ['::1', '0--1'],
  ])('%s is %s', (address, label) => {
    expect(labelOfAddress(address)).toBe(label);
  });
});
