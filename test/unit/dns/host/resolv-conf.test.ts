import { expect, test } from 'vitest';
import { nameservers } from '../../../../src/dns/host/resolv-conf.ts';

test('the nameservers in their order, each once, no more than the C library takes', () => {
  const text = [
    '# by the node',
    'search example.com',
    'nameserver 10.0.0.2',
    '  nameserver\tfd00:0::2  # the other',
    'nameserver 10.0.0.2',
    'nameserver resolver.example.com',
    'options ndots:5',
    'nameserver 10.0.0.3',
    'nameserver 10.0.0.4',
  ].join('\n');
  expect(nameservers(text)).toEqual(['10.0.0.2', 'fd00::2', '10.0.0.3'].map(address => ({ address, port: 53 })));
});

test('none', () => {
  expect(nameservers('')).toEqual([]);
});
