import { describe, expect, test } from 'vitest';
import type { ServiceObject } from '../../../src/lab/apiserver/kinds.ts';
import { StatusError } from '../../../src/lab/apiserver/status.ts';
import { Store, type StoreOptions } from '../../../src/lab/apiserver/store.ts';
import { service } from './api-client.ts';

const dualStack: StoreOptions = { serviceCIDRs: ['10.96.0.0/12', 'fd00:10:96::/112'] };

function create(store: Store, name: string, spec: object): ServiceObject['spec'] {
  return (store.create('services', 'default', service(name, spec)).object as ServiceObject).spec;
}

function update(store: Store, name: string, spec: object): ServiceObject['spec'] {
  return (store.update('services', 'default', name, service(name, spec)).object as ServiceObject).spec;
}

function problems(run: () => unknown): (string | undefined)[] {
  try {
    run();
  } catch (error) {
    if (error instanceof StatusError)
      return error.options.details?.causes?.map(({ field, message }) => `${field}: ${message}`) ?? [error.message];
    throw error;
  }
  return [];
}

describe('defaults of a Service', () => {
  test.each<[string, object, object]>([
    [
      'a NodePort Service gets nodePorts and a policy',
      { type: 'NodePort' },
      { externalTrafficPolicy: 'Cluster', ports: [{ nodePort: expect.any(Number) }] },
    ],
    [
      'a LoadBalancer with Local policy gets a health check port',
      { type: 'LoadBalancer', externalTrafficPolicy: 'Local' },
      {
        allocateLoadBalancerNodePorts: true,
        healthCheckNodePort: expect.any(Number),
        ports: [{ nodePort: expect.any(Number) }],
      },
    ],
    [
      'a LoadBalancer may do without nodePorts',
      { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false },
      { ports: [{ name: 'p', port: 80, targetPort: 8080, protocol: 'TCP' }] },
    ],
    [
      'externalIPs make the external policy apply',
      { externalIPs: ['192.0.2.1'] },
      { externalTrafficPolicy: 'Cluster' },
    ],
    [
      'ClientIP affinity lasts three hours',
      { sessionAffinity: 'ClientIP' },
      { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } } },
    ],
    [
      'headless with a selector keeps one family',
      { clusterIP: 'None', selector: { a: 'b' } },
      { clusterIP: 'None', clusterIPs: ['None'], ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' },
    ],
    [
      'headless without a selector has both',
      { clusterIP: 'None' },
      { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' },
    ],
    [
      'a target port defaults to the port',
      { ports: [{ port: 53, protocol: 'UDP' }] },
      { ports: [{ port: 53, targetPort: 53, protocol: 'UDP' }] },
    ],
  ])('%s', (_name, spec, expected) => {
    expect(create(new Store(), 'a', spec)).toMatchObject(expected);
  });

  test('an ExternalName has no addresses, families or policies', () => {
    const spec = create(new Store(), 'a', { type: 'ExternalName', externalName: 'example.com', ports: undefined });
    expect(JSON.parse(JSON.stringify(spec))).toEqual({
      type: 'ExternalName',
      externalName: 'example.com',
      sessionAffinity: 'None',
    });
  });

  test.each<[string, object, object]>([
    ['single stack unless asked', {}, { ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' }],
    ['prefers both', { ipFamilyPolicy: 'PreferDualStack' }, { ipFamilies: ['IPv4', 'IPv6'] }],
    [
      'the family of a given address',
      { clusterIP: 'fd00:10:96::5' },
      { ipFamilies: ['IPv6'], clusterIPs: ['fd00:10:96::5'] },
    ],
    ['a chosen family', { ipFamilies: ['IPv6'] }, { clusterIP: expect.stringMatching(/^fd00:10:96::/) }],
    [
      'two families',
      { ipFamilies: ['IPv6', 'IPv4'] },
      { ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6', 'IPv4'] },
    ],
  ])('dual stack: %s', (_name, spec, expected) => {
    expect(create(new Store(dualStack), 'a', spec)).toMatchObject(expected);
  });

  test('TCP and UDP of one port share their nodePort', () => {
    const ports = [
      { name: 't', port: 53, protocol: 'TCP' },
      { name: 'u', port: 53, protocol: 'UDP' },
    ];
    const [tcp, udp] = create(new Store(), 'a', { type: 'NodePort', ports }).ports ?? [];
    expect(tcp?.nodePort).toBe(udp?.nodePort);
  });
});

describe('addresses and nodePorts', () => {
  test('chosen ones are kept, refused when taken, and free again after the deletion', () => {
    const store = new Store();
    const chosen = { clusterIP: '10.96.0.5', type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] };
    expect(create(store, 'a', chosen)).toMatchObject(chosen);
    expect(problems(() => create(store, 'b', chosen))).toEqual([
      'spec.clusterIPs: Invalid value: ["10.96.0.5"]: failed to allocate IP 10.96.0.5: provided IP is already allocated',
      'spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated',
    ]);
    store.delete('services', 'default', 'a');
    expect(create(store, 'b', chosen)).toMatchObject(chosen);
  });

  test('a refused Service gives back what it took', () => {
    const store = new Store();
    create(store, 'a', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] });
    const half = { clusterIP: '10.96.0.5', type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] };
    expect(problems(() => create(store, 'b', half))).toHaveLength(1);
    expect(create(store, 'c', { clusterIP: '10.96.0.5' }).clusterIP).toBe('10.96.0.5');
  });

  test('ranges are kept, and a full one says so', () => {
    const store = new Store({ serviceCIDRs: ['10.0.0.0/30'], nodePortRange: [30_000, 30_000] });
    expect(problems(() => create(store, 'a', { clusterIP: '10.1.0.1' }))).toEqual([
      'spec.clusterIPs: Invalid value: ["10.1.0.1"]: failed to allocate IP 10.1.0.1: the provided IP (10.1.0.1) is not in the valid range. The range of valid IPs is 10.0.0.0/30',
    ]);
    expect([create(store, 'a', {}).clusterIP, create(store, 'b', {}).clusterIP]).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(problems(() => create(store, 'c', {}))).toEqual(['failed to allocate a serviceIP: range is full']);
    expect(problems(() => create(store, 'd', { clusterIP: 'None', type: 'ClusterIP' }))).toEqual([]);
    expect(problems(() => update(store, 'a', { type: 'NodePort', ports: [{ port: 1, nodePort: 29_999 }] }))).toEqual([
      'spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-30000',
    ]);
  });

  test('what was allocated survives an update that leaves it out', () => {
    const store = new Store();
    const before = create(store, 'a', { type: 'NodePort' });
    const after = update(store, 'a', { type: 'NodePort', sessionAffinity: 'ClientIP' });
    expect([after.clusterIP, after.ports]).toEqual([before.clusterIP, before.ports]);
  });

  test('changing the type gives back and takes what belongs to it', () => {
    const store = new Store();
    const first = create(store, 'a', {
      type: 'NodePort',
      ports: [{ name: 'p', port: 80, nodePort: 30_080 }],
      clusterIP: '10.96.0.5',
    });
    const second = update(store, 'a', { ...first, type: 'ClusterIP' });
    expect(second.ports?.[0]?.nodePort).toBeUndefined();
    const third = update(store, 'a', { ...second, type: 'ExternalName', externalName: 'example.com' });
    expect([third.clusterIP, third.clusterIPs, third.ipFamilies]).toEqual([undefined, undefined, undefined]);
    expect(create(store, 'b', first)).toMatchObject({ clusterIP: '10.96.0.5', ports: [{ nodePort: 30_080 }] });
  });

  test('the second family comes and goes with the policy', () => {
    const store = new Store(dualStack);
    create(store, 'a', {});
    expect(update(store, 'a', { ipFamilyPolicy: 'PreferDualStack' }).clusterIPs).toHaveLength(2);
    const [ipv4, ipv6 = ''] = update(store, 'a', { ipFamilyPolicy: 'PreferDualStack' }).clusterIPs ?? [];
    expect(update(store, 'a', { ipFamilyPolicy: 'SingleStack' })).toMatchObject({
      clusterIPs: [ipv4],
      ipFamilies: ['IPv4'],
    });
    expect(create(store, 'b', { clusterIP: ipv6 }).clusterIP).toBe(ipv6);
  });

  test('the cluster IP may not change', () => {
    const store = new Store();
    create(store, 'a', { clusterIP: '10.96.0.5' });
    expect(problems(() => update(store, 'a', { clusterIP: '10.96.0.6' }))).toEqual([
      'spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set',
    ]);
  });
});

describe('a Service is refused for', () => {
  test.each<[string, object, string]>([
    ['no ports', { ports: [] }, 'spec.ports: Required value'],
    [
      'a port out of range',
      { ports: [{ port: 65_536, targetPort: 1 }] },
      'spec.ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive',
    ],
    [
      'an unknown protocol',
      { ports: [{ port: 1, protocol: 'ICMP' }] },
      'spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
    ],
    ['ports without names', { ports: [{ name: 'a', port: 1 }, { port: 2 }] }, 'spec.ports[1].name: Required value'],
    [
      'a name twice',
      {
        ports: [
          { name: 'a', port: 1 },
          { name: 'a', port: 2 },
        ],
      },
      'spec.ports[1].name: Duplicate value: "a"',
    ],
    [
      'a port twice',
      {
        ports: [
          { name: 'a', port: 1 },
          { name: 'b', port: 1 },
        ],
      },
      'spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}',
    ],
    [
      'a nodePort without the type',
      { ports: [{ port: 1, nodePort: 30_000 }] },
      "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
    ],
    [
      'an unknown type',
      { type: 'Magic' },
      'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
    ],
    [
      'a bad external IP',
      { externalIPs: ['127.0.0.1'] },
      'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    ],
    [
      'a bad source range',
      { type: 'LoadBalancer', loadBalancerSourceRanges: ['10.0.0.0/33'] },
      'spec.loadBalancerSourceRanges[0]: Invalid value: "10.0.0.0/33": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
    ],
    [
      'two families on one-family clusters',
      { ipFamilyPolicy: 'RequireDualStack' },
      'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services',
    ],
    [
      'a family the cluster lacks',
      { ipFamilies: ['IPv6'] },
      'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
    ],
    [
      'a bad cluster IP',
      { clusterIP: 'x' },
      'spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    ],
    [
      'an affinity of a week',
      { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 604_800 } } },
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 604800: must be greater than 0 and less than 86400',
    ],
    ['an ExternalName without a name', { type: 'ExternalName' }, 'spec.externalName: Required value'],
  ])('%s', (_name, spec, problem) => {
    expect(problems(() => create(new Store(), 'a', spec))).toEqual([problem]);
  });
});

describe('an EndpointSlice is refused for', () => {
  const endpoints = [{ addresses: ['10.0.0.1'] }];
  test.each<[string, object, string]>([
    ['no address type', { endpoints }, 'addressType: Required value'],
    [
      'an address of another family',
      { addressType: 'IPv6', endpoints },
      'endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be an IPv6 address',
    ],
    [
      'no addresses',
      { addressType: 'IPv4', endpoints: [{ addresses: [] }] },
      'endpoints[0].addresses: Required value: must contain at least 1 address',
    ],
    [
      'an address that is none',
      { addressType: 'IPv4', endpoints: [{ addresses: ['10.0.0.01'] }] },
      'endpoints[0].addresses[0]: Invalid value: "10.0.0.01": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    ],
    [
      'a port name twice',
      {
        addressType: 'IPv4',
        ports: [
          { name: 'a', port: 1 },
          { name: 'a', port: 2 },
        ],
      },
      'ports[1]: Duplicate value: "a"',
    ],
    [
      'a port of 0',
      { addressType: 'IPv4', ports: [{ port: 0 }] },
      'ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive',
    ],
  ])('%s', (_name, content, problem) => {
    const store = new Store();
    expect(problems(() => store.create('endpointslices', 'default', { metadata: { name: 'a' }, ...content }))).toEqual([
      problem,
    ]);
  });

  test('a change of its address type', () => {
    const store = new Store();
    store.create('endpointslices', 'default', { metadata: { name: 'a' }, addressType: 'IPv4', endpoints: [] });
    const changed = { metadata: { name: 'a' }, addressType: 'IPv6', endpoints: [] };
    expect(problems(() => store.update('endpointslices', 'default', 'a', changed))).toEqual([
      'addressType: Invalid value: "IPv6": field is immutable',
    ]);
  });
});
