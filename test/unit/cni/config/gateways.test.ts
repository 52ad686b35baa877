import { expect, it } from 'vitest';
import { withGateways } from '../../../../src/cni/config/gateways.ts';
import { CODE } from '../../../../src/cni/types.ts';

it('the first address of the network is the gateway where none is named', () => {
  const given = [
    { address: '10.20.3.5/16' },
    { address: 'fd20::5/64' },
    { address: '10.30.0.5/24', gateway: '10.30.0.254' },
    { address: '10.40.0.5/32' },
  ];
  expect(withGateways(given).map(({ gateway }) => gateway)).toEqual([
    '10.20.0.1',
    'fd20::1',
    '10.30.0.254',
    '10.40.0.6',
  ]);
  expect(withGateways([{ address: '255.255.255.255/32' }])).toEqual([{ address: '255.255.255.255/32' }]);
});

it.each([['10.20.0.1/24'], ['fd20:0::1/64']])('%s can not be both the gateway and the pod', address => {
  const error = expect.objectContaining({ code: CODE.badConfiguration, message: expect.stringContaining(address) });
  expect(() => withGateways([{ address }])).toThrow(error);
});
