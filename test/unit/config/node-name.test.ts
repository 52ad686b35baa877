import { expect, test } from 'vitest';
import { resolveNodeName } from '../../../src/config/node-name.ts';

test.each([
  [undefined, 'Host-A', 'host-a'],
  ['', ' host-a \n', 'host-a'],
  ['  ', 'host-a', 'host-a'],
  [' Node-B ', 'host-a', 'node-b'],
])('override %j on host %j is %s', (override, hostname, name) => {
  expect(resolveNodeName(override, () => hostname)).toBe(name);
});

test('a host without a name is an error that says what to do', () => {
  expect(() => resolveNodeName(undefined, () => '')).toThrow('set hostnameOverride');
});
