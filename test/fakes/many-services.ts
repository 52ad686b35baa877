import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import type { Model } from '../../src/endpoints/types.ts';
import type { EndpointSlice, IPFamily, Service } from '../../src/watch/objects.ts';
import { service, slice, sliceEndpoint, snapshot } from './objects.ts';

const node = { name: 'node-a', zone: '' };

/** Addresses of both families whose last number is `number`. */
function addressesOf(number: number): readonly [string, string] {
  return [`10.96.0.${number}`, `fd00:10:96::${number}`];
}

/** A Service of every kind that makes a difference in the rules. */
export function manyServices(): Service[] {
  const web = [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 }] as const;
  const dns = [
    { name: 'dns', protocol: 'UDP', port: 53, nodePort: 0 },
    { name: 'dns-tcp', protocol: 'TCP', port: 53, nodePort: 0 },
  ] as const;
  const vip = (number: number) => ({ ip: `203.0.113.${number}`, ipMode: 'VIP' as const });
  const vip6 = (number: number) => ({ ip: `2001:db8:1::${number}`, ipMode: 'VIP' as const });
  const ranges = ['192.0.2.0/24', '198.51.100.7/32', '2001:db8:2::/48', '2001:db8:3::7/128'];
  const of = (name: string, number: number, fields: Partial<Service> = {}) =>
    service({ name, clusterIPs: addressesOf(number), ...fields });
  return [
    of('web', 10, { ports: web, externalIPs: ['192.0.2.1', '2001:db8::1'] }),
    of('dns', 11, { ports: dns }),
    of('idle', 12, { ports: [{ name: '', protocol: 'SCTP', port: 3868, nodePort: 30868 }] }),
    of('local', 13, {
      ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30081 }],
      internalTrafficPolicy: 'Local',
      externalTrafficPolicy: 'Local',
      loadBalancerIngress: [vip(1), vip6(1)],
    }),
    of('far', 14, {
      ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30082 }],
      internalTrafficPolicy: 'Local',
      externalTrafficPolicy: 'Local',
    }),
    of('guarded', 15, {
      ports: [{ name: 'http', protocol: 'TCP', port: 443, nodePort: 30083 }],
      loadBalancerIngress: [vip(2), vip6(2)],
      loadBalancerSourceRanges: ranges,
      nodePortSourceRanges: ranges,
    }),
    of('guarded-idle', 16, { loadBalancerIngress: [vip(3), vip6(3)], loadBalancerSourceRanges: ranges }),
    of('sticky', 17, {
      ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30084 }],
      affinityTimeoutSeconds: 10_800,
      externalTrafficPolicy: 'Local',
    }),
    of('sticky-far', 18, { affinityTimeoutSeconds: 86_399 }),
    of('hashed', 19, { balancing: 'source-hash' }),
    of('a'.repeat(63), 20, {
      namespace: 'n'.repeat(63),
      ports: [{ name: 'p'.repeat(15), protocol: 'TCP', port: 80, nodePort: 0 }],
    }),
  ];
}

const WHERE: Readonly<Record<string, 'both' | 'here' | 'elsewhere'>> = {
  web: 'both',
  dns: 'both',
  local: 'both',
  far: 'elsewhere',
  guarded: 'both',
  sticky: 'both',
  'sticky-far': 'elsewhere',
  hashed: 'both',
  ['a'.repeat(63)]: 'here',
};

/** Endpoints for those that have some: one on this node and one on another, or either alone. */
export function manySlices(services: readonly Service[], family: IPFamily): EndpointSlice[] {
  const ip = (number: number) => (family === 'IPv4' ? `10.244.1.${number}` : `fd00:10:244:1::${number}`);
  return services.flatMap((owner, index) => {
    const where = WHERE[owner.name];
    if (where === undefined) return [];
    const endpoints = [
      ...(where === 'elsewhere' ? [] : [sliceEndpoint(ip(2 * index + 2), { nodeName: node.name })]),
      ...(where === 'here' ? [] : [sliceEndpoint(ip(2 * index + 3), { nodeName: 'node-b' })]),
    ];
    const ports = owner.ports.map(({ name, protocol, port }) => ({ name, protocol, port: port + 8000 }));
    const { namespace, name: serviceName } = owner;
    return [slice({ namespace, name: `${serviceName}-1`, serviceName, family, endpoints, ports })];
  });
}

export function manyRoutes(family: IPFamily): Model {
  const services = manyServices();
  const snap = snapshot(services, manySlices(services, family));
  return updateModel(emptyModel(family, node), snap, snap.services.keys(), node);
}
