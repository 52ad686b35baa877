import { describe, expect, it } from 'vitest';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import { endpointText, type Model, type ServiceRoute } from '../../../src/endpoints/types.ts';
import type { EndpointSlice, IPFamily, Service } from '../../../src/watch/objects.ts';
import { service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';

const node = { name: 'node-a', zone: 'zone-a' };

function build(services: Service[], slices: EndpointSlice[] = [], family: IPFamily = 'IPv4'): Model {
  const snap = snapshot(services, slices);
  return updateModel(emptyModel(family, node), snap, snap.services.keys(), node);
}

function route(model: Model, key = 'default/web:http/TCP'): ServiceRoute {
  const found = model.routes.get(key);
  if (found === undefined) throw new Error(`no route ${key} among ${[...model.routes.keys()].join(', ')}`);
  return found;
}

describe('endpoints of a route', () => {
  it('counts an endpoint that stands in two slices once', () => {
    const model = build([service()], [slice(), slice({ name: 'web-2' })]);
    expect(route(model).endpoints.map(endpointText)).toEqual(['10.244.1.2:8080', '10.244.2.2:8080']);
  });

  it.each([['web-1'], ['web-3']])('takes the copy that is not terminating, whichever slice holds it (%s)', name => {
    const leaving = slice({ name, endpoints: [sliceEndpoint('10.244.1.2', { ready: false, terminating: true })] });
    const staying = slice({ name: 'web-2', endpoints: [sliceEndpoint('10.244.1.2')] });
    const [found] = route(build([service()], [leaving, staying])).endpoints;
    expect(found).toMatchObject({ isReady: true, isTerminating: false });
  });

  it('matches slice ports by name and protocol', () => {
    const dns = service({
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53, nodePort: 0 },
        { name: 'dns', protocol: 'TCP', port: 53, nodePort: 0 },
      ],
    });
    const model = build([dns], [slice({ ports: [{ name: 'dns', protocol: 'UDP', port: 5353 }] })]);
    expect(route(model, 'default/web:dns/UDP').endpoints.map(endpointText)[0]).toBe('10.244.1.2:5353');
    expect(route(model, 'default/web:dns/TCP').endpoints).toEqual([]);
  });

  it('ignores slices of the other family and of headless Services', () => {
    const v6 = slice({ name: 'v6', family: 'IPv6', endpoints: [sliceEndpoint('fd00::1')] });
    const headless = slice({ name: 'h', isHeadless: true, endpoints: [sliceEndpoint('10.244.9.9')] });
    expect(route(build([service()], [v6, headless])).endpoints).toEqual([]);
  });

  it('falls back to serving endpoints that terminate only when none is ready', () => {
    const draining = sliceEndpoint('10.244.1.2', { ready: false, serving: true, terminating: true });
    const gone = sliceEndpoint('10.244.1.3', { ready: false, serving: false, terminating: true });
    const only = route(build([service()], [slice({ endpoints: [draining, gone] })]));
    expect(only.clusterEndpoints.map(endpointText)).toEqual(['10.244.1.2:8080']);
    const ready = sliceEndpoint('10.244.1.4');
    const mixed = route(build([service()], [slice({ endpoints: [draining, gone, ready] })]));
    expect(mixed.clusterEndpoints.map(endpointText)).toEqual(['10.244.1.4:8080']);
  });

  it('knows which endpoints are local', () => {
    const endpoints = [
      sliceEndpoint('10.244.1.2', { nodeName: 'node-a' }),
      sliceEndpoint('10.244.2.2', { nodeName: 'b' }),
    ];
    const local = route(build([service({ internalTrafficPolicy: 'Local' })], [slice({ endpoints })]));
    expect(local.localEndpoints.map(endpointText)).toEqual(['10.244.1.2:8080']);
  });
});

describe('a Service of two families', () => {
  const dual = service({
    clusterIPs: ['10.96.0.10', 'fd00:10:96::10'],
    externalIPs: ['192.0.2.1', '2001:db8::1'],
    loadBalancerIngress: [
      { ip: '2001:db8::2', ipMode: 'VIP' },
      { ip: '2001:db8::3', ipMode: 'Proxy' },
      { ip: '198.51.100.2', ipMode: 'VIP' },
    ],
    loadBalancerSourceRanges: ['203.0.113.0/24', '2001:db8:f::/48'],
  });
  const slices = [
    slice(),
    slice({ name: 'web-6', family: 'IPv6', endpoints: [sliceEndpoint('fd00::2', { nodeName: 'node-a' })] }),
  ];

  it.each([
    ['IPv4', ['10.96.0.10', '192.0.2.1', '198.51.100.2', '203.0.113.0/24'], ['10.244.1.2:8080', '10.244.2.2:8080']],
    ['IPv6', ['fd00:10:96::10', '2001:db8::1', '2001:db8::2', '2001:db8:f::/48'], ['[fd00::2]:8080']],
  ] as const)('has in %s the addresses and endpoints of that family only', (family, addresses, endpoints) => {
    const { servicePort: port, endpoints: found } = route(build([dual], slices, family));
    const { externalIPs, loadBalancerVIPs, loadBalancerSourceRanges } = port;
    expect([port.clusterIP, ...externalIPs, ...loadBalancerVIPs, ...loadBalancerSourceRanges]).toEqual(addresses);
    expect(found.map(endpointText)).toEqual(endpoints);
  });

  it('loses an address of one family to an older Service, and keeps the other', () => {
    const older = service({
      name: 'older',
      creationTimestamp: '2025-01-01T00:00:00Z',
      clusterIPs: ['fd00:10:96::11'],
      externalIPs: ['2001:db8::1', '192.0.2.1'],
    });
    const externalIPs = (family: IPFamily) => route(build([dual, older], slices, family)).servicePort.externalIPs;
    expect(externalIPs('IPv6')).toEqual([]);
    // The other Service has no IPv4 at all, so that it serves no address of it.
    expect(externalIPs('IPv4')).toEqual(['192.0.2.1']);
  });

  it('refuses in the family that has no endpoint, and serves in the other', () => {
    expect(route(build([dual], slices.slice(0, 1), 'IPv6')).hasAnyEndpoints).toBe(false);
    expect(route(build([dual], slices.slice(0, 1), 'IPv4')).hasAnyEndpoints).toBe(true);
  });
});

describe('which Services have routes', () => {
  it.each([
    ['headless', { isHeadless: true, clusterIPs: [] }],
    ['ExternalName', { type: 'ExternalName' as const }],
    ["another proxy's", { serviceProxyName: 'other' }],
    ['without an address of the family', { clusterIPs: ['fd00::10'] }],
  ])('none: %s', (_name, fields) => {
    expect(build([service(fields)], [slice()]).routes.size).toBe(0);
  });
});

describe('claims', () => {
  const older = service({ name: 'older', externalIPs: ['192.0.2.1'], creationTimestamp: '2026-01-01T00:00:00Z' });
  const younger = service({
    name: 'younger',
    clusterIPs: ['10.96.0.11'],
    externalIPs: ['192.0.2.1', '192.0.2.2'],
    creationTimestamp: '2026-01-02T00:00:00Z',
  });

  it('gives a contested externalIP to the older Service and the rest to the younger', () => {
    const model = build([younger, older]);
    expect(route(model, 'default/older:http/TCP').servicePort.externalIPs).toEqual(['192.0.2.1']);
    expect(route(model, 'default/younger:http/TCP').servicePort.externalIPs).toEqual(['192.0.2.2']);
    expect([...model.contested]).toEqual(['192.0.2.1 80/TCP']);
  });

  it('hands it over when the owner goes, and says which routes changed', () => {
    const before = build([younger, older]);
    const after = updateModel(before, snapshot([younger]), ['default/older'], node);
    expect(route(after, 'default/younger:http/TCP').servicePort.externalIPs).toEqual(['192.0.2.1', '192.0.2.2']);
    expect([...after.changed].sort()).toEqual(['default/older:http/TCP', 'default/younger:http/TCP']);
    expect(after.contested.size).toBe(0);
  });

  it('settles by namespace/name when both are equally old', () => {
    const a = service({ name: 'a', externalIPs: ['192.0.2.1'] });
    const b = service({ name: 'b', clusterIPs: ['10.96.0.11'], externalIPs: ['192.0.2.1'] });
    for (const services of [
      [a, b],
      [b, a],
    ]) {
      expect(route(build(services), 'default/b:http/TCP').servicePort.externalIPs).toEqual([]);
    }
  });

  it('does not contest the same address with another port or protocol', () => {
    const ports = [{ name: 'http', protocol: 'UDP' as const, port: 80, nodePort: 0 }];
    const udp = service({ name: 'udp', clusterIPs: ['10.96.0.12'], externalIPs: ['192.0.2.1'], ports });
    expect(build([older, udp]).contested.size).toBe(0);
  });

  it("does not let an externalIP take another Service's cluster IP, however old", () => {
    const thief = service({ name: 'thief', clusterIPs: ['10.96.0.30'], externalIPs: ['10.96.0.31'] });
    const victim = service({ name: 'victim', clusterIPs: ['10.96.0.31'], creationTimestamp: '2026-02-01T00:00:00Z' });
    const model = build([thief, victim]);
    expect(route(model, 'default/victim:http/TCP').servicePort.clusterIP).toBe('10.96.0.31');
    expect(route(model, 'default/thief:http/TCP').servicePort.externalIPs).toEqual([]);
  });

  it('settles node ports and cluster IPs too', () => {
    const ports = [{ name: 'http', protocol: 'TCP' as const, port: 80, nodePort: 30080 }];
    const model = build([service({ name: 'a', ports }), service({ name: 'b', ports })]);
    expect(route(model, 'default/b:http/TCP').servicePort).toMatchObject({ clusterIP: '', nodePort: 0 });
  });
});

describe('updateModel', () => {
  it('leaves the routes of other Services identical and names only what changed', () => {
    const other = service({ name: 'other', clusterIPs: ['10.96.0.20'] });
    const before = build([service(), other], [slice()]);
    const snap = snapshot([service(), other], [slice({ endpoints: [sliceEndpoint('10.244.1.9')] })]);
    const after = updateModel(before, snap, ['default/web'], node);
    expect([...after.changed]).toEqual(['default/web:http/TCP']);
    expect(after.routes.get('default/other:http/TCP')).toBe(before.routes.get('default/other:http/TCP'));
  });

  it('reports nothing when a dirty Service came out the same', () => {
    const before = build([service()], [slice()]);
    const after = updateModel(before, snapshot([service()], [slice()]), ['default/web'], node);
    expect(after.changed.size).toBe(0);
    expect(route(after)).toBe(route(before));
  });

  it('looks at every Service when the zone of the node changes', () => {
    const endpoints = [
      sliceEndpoint('10.244.1.2', { zoneHints: ['zone-a'] }),
      sliceEndpoint('10.244.2.2', { zoneHints: ['zone-b'] }),
    ];
    const snap = snapshot([service()], [slice({ endpoints })]);
    const before = updateModel(emptyModel('IPv4', node), snap, snap.services.keys(), node);
    const after = updateModel(before, snap, [], { ...node, zone: 'zone-b' });
    expect(route(after).clusterEndpoints.map(endpointText)).toEqual(['10.244.2.2:8080']);
    expect([...after.changed]).toEqual(['default/web:http/TCP']);
  });

  it('removes the route of a port that a Service no longer has', () => {
    const before = build([service()], [slice()]);
    const ports = [{ name: 'https', protocol: 'TCP' as const, port: 443, nodePort: 0 }];
    const after = updateModel(before, snapshot([service({ ports })]), ['default/web'], node);
    expect([...after.routes.keys()]).toEqual(['default/web:https/TCP']);
    expect([...after.changed].sort()).toEqual(['default/web:http/TCP', 'default/web:https/TCP']);
  });
});

describe('what a Service is warned of', () => {
  const warningsOf = (fields: Partial<Service>, family: IPFamily = 'IPv4') =>
    route(build([service({ clusterIPs: ['10.96.0.10', 'fd00:10:96::10'], ...fields })], [], family)).servicePort
      .warnings;
  const loadBalancerIngress = [
    { ip: '192.0.2.1', ipMode: 'VIP' },
    { ip: '2001:db8::1', ipMode: 'VIP' },
  ] as const;

  it('source ranges without one of a family whose load balancer addresses they leave open', () => {
    const fields = { loadBalancerIngress, loadBalancerSourceRanges: ['203.0.113.0/24'] };
    expect(warningsOf(fields)).toEqual([]);
    expect(warningsOf(fields, 'IPv6')).toEqual([
      expect.stringMatching(/^spec\.loadBalancerSourceRanges: no range is IPv6/),
    ]);
    expect(warningsOf({ ...fields, loadBalancerIngress: loadBalancerIngress.slice(0, 1) }, 'IPv6')).toEqual([]);
  });

  it('the same for NodePorts, where it has any', () => {
    const ports = [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 }] as const;
    const fields = { nodePortSourceRanges: ['2001:db8::/32'] };
    expect(warningsOf({ ...fields, ports })).toEqual([
      expect.stringMatching(/node-port-source-ranges: no range is IPv4/),
    ]);
    expect(warningsOf({ ...fields, ports }, 'IPv6')).toEqual([]);
    expect(warningsOf(fields)).toEqual([]);
  });

  it('external IPs that the operator does not allow; they are left out, and so is their claim', () => {
    const ofOperator = { ...node, allowedExternalIPs: ['192.0.2.0/25', '2001:db8::/32'] };
    const snap = snapshot([service({ externalIPs: ['192.0.2.1', '192.0.2.200'] })]);
    const model = updateModel(emptyModel('IPv4', ofOperator), snap, snap.services.keys(), ofOperator);
    expect(route(model).servicePort.externalIPs).toEqual(['192.0.2.1']);
    expect(route(model).servicePort.warnings).toEqual([
      expect.stringMatching(/^spec\.externalIPs: 192\.0\.2\.200 is in none/),
    ]);
    expect([...model.claims.keys()].join()).not.toContain('192.0.2.200');
    // The permission is a fact of the node: with another one, every Service is looked at again.
    const open = updateModel(model, snap, [], { ...node, allowedExternalIPs: ['0.0.0.0/0'] });
    expect(route(open).servicePort.externalIPs).toEqual(['192.0.2.1', '192.0.2.200']);
    expect([...open.changed]).toEqual(['default/web:http/TCP']);
  });
});

describe('the health check port', () => {
  it.each([
    ['LoadBalancer', 'Local', 31000],
    ['LoadBalancer', 'Cluster', 0],
    ['NodePort', 'Local', 0],
  ] as const)('of a Service of type %s with external policy %s is %i', (type, externalTrafficPolicy, wanted) => {
    const model = build([service({ type, externalTrafficPolicy, healthCheckNodePort: 31_000 })]);
    expect(route(model).servicePort.healthCheckNodePort).toBe(wanted);
  });
});

describe('the Service that this program serves here', () => {
  const dns = service({ namespace: 'kube-system', name: 'kube-dns', clusterIPs: ['10.96.0.53'] });
  const own = sliceEndpoint('192.0.2.11');
  const endpoints = (...others: ReturnType<typeof sliceEndpoint>[]) =>
    slice({ namespace: 'kube-system', name: 'kube-dns-1', serviceName: 'kube-dns', endpoints: [own, ...others] });
  const serving = { ...node, ownServer: { service: 'kube-system/kube-dns', ips: ['192.0.2.11'] } };
  const addressesOf = (model: Model) => route(model, 'kube-system/kube-dns:http/TCP').endpoints.map(({ ip }) => ip);
  const built = (list: EndpointSlice, facts: typeof node) => {
    const snap = snapshot([dns, service()], [list, slice()]);
    return { snap, model: updateModel(emptyModel('IPv4', facts), snap, snap.services.keys(), facts) };
  };

  it('leads to others', () => {
    const { model } = built(endpoints(sliceEndpoint('192.0.2.12')), serving);
    expect(addressesOf(model)).toEqual(['192.0.2.12']);
  });

  it('leads here all the same where there is no other one that is ready', () => {
    const draining = sliceEndpoint('192.0.2.12', { ready: false, terminating: true });
    expect(addressesOf(built(endpoints(draining), serving).model)).toEqual(['192.0.2.11', '192.0.2.12']);
    expect(addressesOf(built(endpoints(), serving).model)).toEqual(['192.0.2.11']);
  });

  it('is the only one that is looked at when it becomes that, and when it no longer is', () => {
    const { snap, model: before } = built(endpoints(sliceEndpoint('192.0.2.12')), node);
    const during = updateModel(before, snap, [], serving);
    const after = updateModel(during, snap, [], node);
    expect([before, during, after].map(addressesOf)).toEqual([
      ['192.0.2.11', '192.0.2.12'],
      ['192.0.2.12'],
      ['192.0.2.11', '192.0.2.12'],
    ]);
    for (const model of [during, after]) expect([...model.changed]).toEqual(['kube-system/kube-dns:http/TCP']);
    expect(route(during)).toBe(route(before));
  });
});
