import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressIndex } from '../../../../src/dns/zone/address-index.ts';
import type { DnsService } from '../../../../src/dns/zone/dns-service.ts';

const SERVICES = ['b', 'a', 'c'].map(
  (name): DnsService => ({
    namespace: 'default',
    name,
    kind: 'headless',
    clusterIPs: [],
    externalName: '',
    ports: [],
    groups: [],
  }),
);
const IPS = ['10.0.0.1', '200.0.0.1', 'fd00::1', '255.255.255.255'];

describe('the index of addresses', () => {
  it('has for each address the Services that were added and not removed, by name', () => {
    const step = fc.record({
      ip: fc.constantFrom(...IPS),
      service: fc.constantFrom(...SERVICES),
      isAdded: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step), steps => {
        const index = new AddressIndex();
        const wanted = new Map(IPS.map(ip => [ip, new Set<DnsService>()]));
        for (const { ip, service, isAdded } of steps) {
          if (isAdded) index.add(ip, service);
          else index.remove(ip, service);
          if (isAdded) wanted.get(ip)?.add(service);
          else wanted.get(ip)?.delete(service);
        }
        for (const [ip, services] of wanted) {
          expect(index.get(ip).map(({ name }) => name)).toEqual([...services].map(({ name }) => name).toSorted());
        }
      }),
    );
  });
});
