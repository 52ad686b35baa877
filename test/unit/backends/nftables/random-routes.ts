/** Random routes of every kind, for the properties of the nftables mode. */
import fc from 'fast-check';
import { Map as ImmutableMap } from 'immutable';
import type { Endpoint, Model, ServiceRoute } from '../../../../src/endpoints/types.ts';
import { servicePortKey } from '../../../../src/endpoints/types.ts';
import type { IPFamily, Protocol } from '../../../../src/watch/objects.ts';
import { endpoint, servicePort } from '../../../fakes/objects.ts';

const NETS = {
  IPv4: {
    cluster: '10.96.0.',
    external: '198.51.100.',
    balancer: '203.0.113.',
    pod: '10.244.0.',
    // Beside each other, and in each other: at an end, in the middle, on both sides.
    sources: [
      '192.0.2.0/24',
      '192.0.2.0/25',
      '192.0.2.128/25',
      '192.0.2.64/26',
      '192.0.2.77/32',
      '192.0.0.0/16',
      '198.18.0.0/15',
      '0.0.0.0/0',
    ],
  },
  IPv6: {
    cluster: 'fd00:96::',
    external: '2001:db8:1::',
    balancer: '2001:db8:2::',
    pod: 'fd00:244::',
    sources: [
      '2001:db8:3::/64',
      '2001:db8:3::/65',
      '2001:db8:3:0:8000::/65',
      '2001:db8:3:0:4000::/66',
      '2001:db8:3::77/128',
      '2001:db8::/32',
      '2001:db8:4::/47',
      '::/0',
    ],
  },
};

/** Source ranges as a Service may have them, which are often none. */
export function sourceRangesOf(family: IPFamily): fc.Arbitrary<readonly string[]> {
  const some = fc.shuffledSubarray(NETS[family].sources, { minLength: 1, maxLength: 4 });
  return fc.oneof(fc.constant([]), { arbitrary: some, weight: 2 });
}

/** Services 1 to 8 with one or two ports each, as they may be at one time. */
export function routesOf(family: IPFamily): fc.Arbitrary<ReadonlyMap<string, ServiceRoute>> {
  const net = NETS[family];
  const pods = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 7 });
  const route = (index: number, port: '' | 'second') =>
    fc
      .record({
        pods,
        local: fc.subarray(Array.from({ length: 12 }, (_, i) => i + 1)),
        protocol: fc.constantFrom<Protocol>('TCP', 'UDP'),
        hasExternal: fc.boolean(),
        hasBalancer: fc.boolean(),
        hasNodePort: fc.boolean(),
        balancerSources: sourceRangesOf(family),
        nodePortSources: sourceRangesOf(family),
        isInternalLocal: fc.boolean(),
        isExternalLocal: fc.boolean(),
        hasAffinity: fc.boolean(),
        balancing: fc.constantFrom('random', 'source-hash') as fc.Arbitrary<'random' | 'source-hash'>,
        isWeighted: fc.boolean(),
      })
      .map(given => {
        const number = port === '' ? 80 : 443;
        const all = given.pods
          .toSorted((a, b) => a - b)
          .map((pod): Endpoint => {
            const isLocal = given.local.includes(pod);
            return endpoint(`${net.pod}${pod}`, { port: 8080, isLocal, mayBeLocal: isLocal });
          });
        const local = all.filter(({ isLocal }) => isLocal);
        const routed: ServiceRoute = {
          servicePort: servicePort({
            name: { namespace: 'default', name: `s${index}`, port, protocol: given.protocol },
            clusterIP: `${net.cluster}${index}`,
            port: number,
            nodePort: given.hasNodePort ? 30_000 + index * 2 + (port === '' ? 0 : 1) : 0,
            externalIPs: given.hasExternal ? [`${net.external}${index}`] : [],
            loadBalancerVIPs: given.hasBalancer ? [`${net.balancer}${index}`] : [],
            loadBalancerSourceRanges: given.balancerSources,
            nodePortSourceRanges: given.nodePortSources,
            isInternalLocal: given.isInternalLocal,
            isExternalLocal: given.isExternalLocal,
            affinityTimeoutSeconds: given.hasAffinity ? 60 : 0,
            balancing: given.balancing,
            endpointWeights: given.isWeighted
              ? [{ cidr: `${net.pod}1/${family === 'IPv4' ? 32 : 128}`, weight: 3 }]
              : [],
          }),
          endpoints: all,
          clusterEndpoints: all,
          localEndpoints: local,
          hasAnyEndpoints: all.length > 0,
        };
        return routed;
      });
  const indexes = Array.from({ length: 8 }, (_, i) => i + 1);
  const choices = indexes.flatMap(index => [route(index, ''), route(index, 'second')]);
  return fc
    .tuple(fc.tuple(...choices), fc.subarray(choices.map((_, i) => i)))
    .map(([routes, kept]) => new Map(kept.map(i => [servicePortKey(routes[i]!.servicePort.name), routes[i]!])));
}

/** The Model of such routes, after `previous`. */
export function modelOf(family: IPFamily, routes: ReadonlyMap<string, ServiceRoute>, previous?: Model): Model {
  const keys = new Set([...routes.keys(), ...(previous?.routes.keys() ?? [])]);
  const servicePorts = new Map<string, ServiceRoute['servicePort'][]>();
  for (const { servicePort: port } of routes.values()) {
    const service = `${port.name.namespace}/${port.name.name}`;
    servicePorts.set(service, [...(servicePorts.get(service) ?? []), port]);
  }
  return {
    family,
    node: { name: 'node-a', zone: '' },
    routes: ImmutableMap(routes),
    servicePorts: ImmutableMap(servicePorts),
    claims: ImmutableMap(),
    changed: keys,
    contested: new Set(),
  };
}
