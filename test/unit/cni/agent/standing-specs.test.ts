import { expect, test } from 'vitest';
import type { KeptConfig } from '../../../../src/cni/agent/plan.ts';
import { standingSpecs } from '../../../../src/cni/agent/standing-specs.ts';
import type { Attachment } from '../../../../src/cni/ipam/attachment.ts';

function attachment(
  containerID: string,
  createdAt: number,
  { gateway = '10.88.0.1', forceAddress = false, isOfNode = false, state = 'ready' as Attachment['state'] } = {},
): Attachment {
  const port = { bridge: 'cni0', isGateway: true, forceAddress, promisc: false, vlanTrunk: [] };
  const config = { role: 'link', port, ipMasq: false, routes: [], isOfNode } as unknown as KeptConfig;
  const id = { network: 'kp', containerID, ifname: 'eth0' };
  const addresses = [{ address: `${gateway.replace(/1$/, '2')}/24`, gateway }];
  return { id, state, createdAt, addresses, hostPorts: [], config, netns: '' };
}

const gatewaysOf = (...all: Attachment[]) =>
  standingSpecs(all).map(({ alias, bridge }) => `${alias.split(' ')[2]}: ${bridge?.gateways.join()}`);

test('pods that are being made are not looked after', () => {
  expect(gatewaysOf(attachment('a', 1), attachment('b', 2, { state: 'intent' }))).toEqual(['a: 10.88.0.1/24']);
});

test("of gateways that took each other's place the last one holds; both, where one doesn't force", () => {
  const [old, forced] = [attachment('a', 1), attachment('b', 2, { gateway: '10.99.0.1', forceAddress: true })];
  expect(gatewaysOf(forced, old)).toEqual(['a: ', 'b: 10.99.0.1/24']);
  const ofNode = attachment('b', 2, { gateway: '10.99.0.1', forceAddress: true, isOfNode: true });
  expect(gatewaysOf(old, ofNode)).toEqual(['a: 10.88.0.1/24', 'b: 10.99.0.1/24']);
});

test('what others gave a bridge since never goes', () => {
  const [spec] = standingSpecs([attachment('a', 1, { forceAddress: true })]);
  expect(spec?.bridge).toMatchObject({ forceAddress: false, keepsOthers: true });
});
