import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressOfValue, addressValue } from '../../../src/net/address-value.ts';
import { canonicalIP } from '../../../src/net/ip.ts';

describe('addresses as numbers', () => {
  test.each([
    ['0.0.0.0', 0n],
    ['10.88.0.2', 0x0a580002n],
    ['255.255.255.255', 0xffffffffn],
    ['::1', 1n],
    ['fd00::1:0', (0xfdn << 120n) | 0x10000n],
  ])('%s is %d', (ip, value) => {
    expect(addressValue(ip)).toBe(value);
    expect(addressOfValue(ip.includes(':') ? 'IPv6' : 'IPv4', value)).toBe(ip);
  });

  test('what is no address throws', () => {
    expect(() => addressValue('10.0.0')).toThrow(TypeError);
  });

  test('there and back is the same', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), value => {
        const ip = addressOfValue('IPv6', value);
        expect(addressValue(ip)).toBe(value);
        if (value >> 32n !== 0xffffn) expect(canonicalIP(ip)).toBe(ip);
      }),
    );
  });
});
