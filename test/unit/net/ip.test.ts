import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  canonicalIP,
  formatIPv4,
  formatIPv6,
  ipFamily,
  isLoopback,
  isUnspecified,
  parseIPv4,
  parseIPv6,
} from '../../../src/net/ip.ts';

/** The same address per node's own parser. */
function sameAddress(a: string, b: string): boolean {
  const list = new BlockList();
  list.addAddress(a, isIPv4(a) ? 'ipv4' : 'ipv6');
  return list.check(b, isIPv4(b) ? 'ipv4' : 'ipv6');
}

const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 });
const nearlyAddress = fc.string({ unit: fc.constantFrom(...'0123456789abcdefABF.:%/ '), maxLength: 24 });

describe('canonicalIP', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['172.30.0.041', '172.30.0.41'],
    ['010.000.00.1', '10.0.0.1'],
    [' 192.0.2.7 ', '192.0.2.7'],
    ['\t192.0.2.7\n', '192.0.2.7'],
    ['255.255.255.255', '255.255.255.255'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:0:0:0:1', '2001:db8:0:1::1'],
    ['2001:0:0:1:0:0:1:1', '2001::1:0:0:1:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::', '::'],
    ['::1', '::1'],
    ['fd00::', 'fd00::'],
    ['1::2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['::ffff:0a01:0203', '10.1.2.3'],
  ])('reads %j as %s', (text, expected) => {
    expect(canonicalIP(text)).toBe(expected);
  });

  it.each([
    '',
    ' ',
    'localhost',
    '10.0.0',
    '10.0.0.0.1',
    '10.0.0.256',
    '10.0.0.-1',
    '10..0.1',
    '.10.0.0.1',
    '10.0.0.1.',
    '10.0.0.1/8',
    '0x0a.0.0.1',
    '1e1.0.0.1',
    ':',
    ':::',
    '1:::2',
    '::1::',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4::5:6:7:8',
    '12345::',
    'g::',
    'fe80::1%eth0',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '[::1]',
    'None',
  ])('refuses %j', text => {
    expect(canonicalIP(text)).toBeUndefined();
  });

  it('keeps the meaning of every address and is idempotent', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), text => {
        const canonical = canonicalIP(text);
        expect(canonical).toBeDefined();
        expect(canonicalIP(canonical ?? '')).toBe(canonical);
        expect(sameAddress(text, canonical ?? '')).toBe(true);
      }),
    );
  });

  it('accepts what node:net accepts, and beyond that only leading zeros and spaces', () => {
    fc.assert(
      fc.property(nearlyAddress, text => {
        const canonical = canonicalIP(text);
        if (isIP(text) !== 0 && !text.includes('%')) expect(canonical).toBeDefined();
        if (canonical === undefined || isIP(text) !== 0) return;
        expect(isIP(text.trim().replace(/(^|[.:])0+(?=\d+(\.|$))/g, '$1'))).not.toBe(0);
      }),
      { numRuns: 2000 },
    );
  });

  it('agrees with the URL parser on the text of IPv6 addresses (RFC 5952)', () => {
    fc.assert(
      fc.property(groups, value => {
        const text = value.map(group => group.toString(16)).join(':');
        expect(formatIPv6(value)).toBe(new URL(`http://[${text}]/`).hostname.slice(1, -1));
        expect(parseIPv6(formatIPv6(value))).toEqual(value);
      }),
    );
  });

  it('formats every IPv4 address so that it parses back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), bits => {
        expect(isIPv4(formatIPv4(bits))).toBe(true);
        expect(parseIPv4(formatIPv4(bits))).toBe(bits);
      }),
    );
  });
});

describe('predicates of canonical addresses', () => {
  it('tells the family', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), text => {
        const canonical = canonicalIP(text) ?? '';
        expect(ipFamily(canonical)).toBe(isIPv6(canonical) ? 'IPv6' : 'IPv4');
      }),
    );
  });

  it('knows the unspecified and the loopback addresses', () => {
    expect(['0.0.0.0', '::', '10.0.0.0'].map(isUnspecified)).toEqual([true, true, false]);
    expect(['127.0.0.1', '127.9.9.9', '::1', '128.0.0.1', '::'].map(isLoopback)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });
});
