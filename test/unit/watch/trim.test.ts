import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Problem } from '../../../src/watch/objects.ts';
import { TRIMMERS, trimEndpointSlice, trimService } from '../../../src/watch/trim.ts';
import { trimNode } from '../../../src/watch/trim-cluster.ts';
import type { Trimmed } from '../../../src/watch/trim-named.ts';

const meta = (extra: object = {}) => ({ namespace: 'default', name: 'web', ...extra });
const service = (spec: object, extra: object = {}) => ({ metadata: meta(), spec, ...extra });
const slice = (extra: object) => ({
  metadata: meta({ name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } }),
  addressType: 'IPv4',
  ...extra,
});
const fieldsOf = (trimmed: { problems: readonly Problem[] }) => trimmed.problems.map(problem => problem.field);

describe('trimService', () => {
  it('keeps what is used of an ordinary Service', () => {
    const raw = {
      metadata: meta({
        uid: 'u1',
        creationTimestamp: '2026-11-20T16:34:41Z',
        labels: { a: 'b' },
        annotations: {
          'kproxy-ts.dev/session-affinity-scope': 'Service',
          'kubectl.kubernetes.io/last-applied-configuration': '{}',
        },
      }),
      spec: {
        type: 'LoadBalancer',
        clusterIP: '10.96.0.10',
        clusterIPs: ['10.96.0.10', 'FD00:0::A'],
        externalIPs: ['192.0.2.1'],
        loadBalancerSourceRanges: [' 203.0.113.0/25', '203.0.113.000/025', '2001:DB8::/32'],
        ports: [
          { name: 'http', port: 80, protocol: 'TCP', nodePort: 30080, targetPort: 'http' },
          { port: 53, protocol: 'UDP' },
        ],
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
        internalTrafficPolicy: 'Local',
        externalTrafficPolicy: 'Local',
        healthCheckNodePort: 32000,
        publishNotReadyAddresses: true,
      },
      status: {
        loadBalancer: {
          ingress: [{ ip: '198.51.100.1' }, { hostname: 'lb.example' }, { ip: '198.51.100.2', ipMode: 'Proxy' }],
        },
      },
    };
    expect(trimService(raw)).toEqual({
      key: 'default/web',
      problems: [],
      object: {
        namespace: 'default',
        name: 'web',
        uid: 'u1',
        creationTimestamp: '2026-11-20T16:34:41Z',
        type: 'LoadBalancer',
        clusterIPs: ['10.96.0.10', 'fd00::a'],
        isHeadless: false,
        externalName: '',
        externalIPs: ['192.0.2.1'],
        loadBalancerIngress: [
          { ip: '198.51.100.1', ipMode: 'VIP' },
          { ip: '198.51.100.2', ipMode: 'Proxy' },
        ],
        loadBalancerSourceRanges: ['203.0.113.0/25', '2001:db8::/32'],
        ports: [
          { name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 },
          { name: '', protocol: 'UDP', port: 53, nodePort: 0 },
        ],
        affinityTimeoutSeconds: 60,
        internalTrafficPolicy: 'Local',
        externalTrafficPolicy: 'Local',
        healthCheckNodePort: 32000,
        publishNotReadyAddresses: true,
        serviceProxyName: '',
        nodePortSourceRanges: [],
        affinityScope: 'Service',
        balancing: 'random',
        endpointWeights: [],
      },
    });
  });

  it('takes the defaults of the API for what is absent or null', () => {
    const absent = trimService({ metadata: meta() });
    expect(absent.problems).toEqual([]);
    expect(absent.object).toMatchObject({ type: 'ClusterIP', clusterIPs: [], ports: [], affinityTimeoutSeconds: 0 });
    const nulls = Object.fromEntries(Object.keys(absent.object ?? {}).map(key => [key, null]));
    expect(trimService({ metadata: meta(), spec: nulls, status: null })).toEqual(absent);
  });

  it('makes sloppy addresses canonical', () => {
    const { object, problems } = trimService(
      service({ clusterIP: '172.30.0.041', clusterIPs: ['172.30.0.041'], externalIPs: [' 192.0.2.7 ', '192.0.2.007'] }),
    );
    expect(object).toMatchObject({ clusterIPs: ['172.30.0.41'], externalIPs: ['192.0.2.7'] });
    expect(problems).toEqual([]);
  });

  it('reads clusterIP when clusterIPs is missing, and None in either', () => {
    expect(trimService(service({ clusterIP: '10.96.0.1' })).object?.clusterIPs).toEqual(['10.96.0.1']);
    expect(trimService(service({ clusterIP: 'None' })).object).toMatchObject({ clusterIPs: [], isHeadless: true });
    expect(trimService(service({ clusterIPs: ['None'] })).object).toMatchObject({ clusterIPs: [], isHeadless: true });
    expect(trimService(service({ clusterIP: '' })).object).toMatchObject({ clusterIPs: [], isHeadless: false });
  });

  it('leaves out each impossible part, names it, and keeps the rest', () => {
    const trimmed = trimService(
      service(
        {
          type: 'LoadBalancer',
          clusterIPs: ['10.96.0.1', '10.96.0.300', '::'],
          externalIPs: ['0.0.0.0', '192.0.2.1', 7],
          loadBalancerSourceRanges: ['10.0.0.0/8', '2001:db8::/32', '10.0.0.0/33', 'all'],
          ports: [
            { port: 0 },
            { port: 70000 },
            { port: 80.5 },
            { port: '80' },
            { protocol: 'TCP' },
            { port: 80, protocol: 'ICMP' },
            { port: 81, nodePort: 99999 },
            'http',
          ],
          healthCheckNodePort: -1,
          sessionAffinity: 'Sticky',
          externalTrafficPolicy: 'Nearby',
        },
        { status: { loadBalancer: { ingress: [{ ip: 'lb' }, { ip: '198.51.100.1', ipMode: 'Odd' }] } } },
      ),
    );
    expect(trimmed.object).toMatchObject({
      clusterIPs: ['10.96.0.1'],
      externalIPs: ['192.0.2.1'],
      loadBalancerSourceRanges: ['10.0.0.0/8', '2001:db8::/32'],
      ports: [{ port: 81, nodePort: 0 }],
      loadBalancerIngress: [{ ip: '198.51.100.1', ipMode: 'VIP' }],
      externalTrafficPolicy: 'Cluster',
    });
    expect(fieldsOf(trimmed).toSorted()).toEqual([
      'spec.clusterIPs[1]',
      'spec.clusterIPs[2]',
      'spec.externalIPs[0]',
      'spec.externalIPs[2]',
      'spec.externalTrafficPolicy',
      'spec.healthCheckNodePort',
      'spec.loadBalancerSourceRanges[2]',
      'spec.loadBalancerSourceRanges[3]',
      'spec.ports[0].port',
      'spec.ports[1].port',
      'spec.ports[2].port',
      'spec.ports[3].port',
      'spec.ports[4].port',
      'spec.ports[5].protocol',
      'spec.ports[6].nodePort',
      'spec.ports[7]',
      'spec.sessionAffinity',
      'status.loadBalancer.ingress[0].ip',
      'status.loadBalancer.ingress[1].ipMode',
    ]);
    expect(new Set(trimmed.problems.map(problem => problem.object))).toEqual(new Set(['Service default/web']));
    expect(trimmed.problems.find(problem => problem.field === 'spec.ports[1].port')?.message).toBe(
      '70000 is not a whole number from 1 to 65535',
    );
  });

  it('lets nobody in when no source range can be read, instead of everybody', () => {
    const trimmed = trimService(service({ loadBalancerSourceRanges: ['office'] }));
    expect(trimmed.object?.loadBalancerSourceRanges).toEqual(['0.0.0.0/32', '::/128']);
    expect(fieldsOf(trimmed)).toEqual(['spec.loadBalancerSourceRanges[0]', 'spec.loadBalancerSourceRanges']);
  });

  it('gives session affinity its default timeout, also for an impossible one', () => {
    expect(trimService(service({ sessionAffinity: 'ClientIP' })).object?.affinityTimeoutSeconds).toBe(10800);
    const config = { clientIP: { timeoutSeconds: 86401 } };
    const trimmed = trimService(service({ sessionAffinity: 'ClientIP', sessionAffinityConfig: config }));
    expect(trimmed.object?.affinityTimeoutSeconds).toBe(10800);
    expect(fieldsOf(trimmed)).toEqual(['spec.sessionAffinityConfig.clientIP.timeoutSeconds']);
  });

  it('leaves an ExternalName Service its name only', () => {
    const spec = { type: 'ExternalName', externalName: 'db.example', clusterIP: '' };
    expect(trimService(service(spec)).object).toMatchObject({ externalName: 'db.example', clusterIPs: [] });
  });

  it('sees that another proxy serves the Service, also by a label without value', () => {
    const labelled = (value: string) =>
      trimService({ metadata: meta({ labels: { 'service.kubernetes.io/service-proxy-name': value } }) }).object;
    expect(labelled('other')?.serviceProxyName).toBe('other');
    expect(labelled('')?.serviceProxyName).not.toBe('');
  });

  it('takes names as they are, up to 63 characters and whatever they spell', () => {
    for (const name of ['a'.repeat(63), 'constructor', 'x-1', '0']) {
      expect(trimService({ metadata: { namespace: 'n'.repeat(63), name } }).key).toBe(`${'n'.repeat(63)}/${name}`);
    }
  });

  it.each(['__proto__', 'a\nb', 'a b', '-a', 'a"', 'x'.repeat(254)])('refuses the name %j', name => {
    const trimmed = trimService({ metadata: { namespace: 'default', name } });
    expect(trimmed.object).toBeUndefined();
    expect(trimmed.problems).toEqual([expect.objectContaining({ field: 'metadata.name' })]);
    expect(trimService({ metadata: { namespace: name, name: 'web' } }).problems[0]?.field).toBe('metadata.namespace');
  });

  it('keeps the first of two ports with one name and protocol, and says so', () => {
    const ports = [{ port: 80 }, { port: 81 }, { port: 80, protocol: 'UDP' }];
    const trimmed = trimService({
      metadata: { namespace: 'default', name: 'web' },
      spec: { clusterIP: '10.96.0.1', ports },
    });
    expect(trimmed.object?.ports.map(({ port, protocol }) => `${port}/${protocol}`)).toEqual(['80/TCP', '80/UDP']);
    expect(trimmed.problems.map(({ field }) => field)).toEqual(['spec.ports[1].name']);
  });

  it.each(['127.0.0.1', '224.0.0.1', '::1', 'ff02::1'])('leaves out %s, which no Service can have', address => {
    const raw = {
      metadata: { namespace: 'default', name: 'web' },
      spec: { clusterIPs: [address], ports: [{ port: 80 }] },
    };
    expect(trimService(raw).object?.clusterIPs).toEqual([]);
    expect(trimService(raw).problems.map(({ field }) => field)).toEqual(['spec.clusterIPs[0]']);
  });

  it.each([
    undefined,
    null,
    7,
    'text',
    [],
    {},
    { metadata: null },
    { metadata: { name: '' } },
    { metadata: { name: 4 } },
  ])('finds no object in %j and says so', raw => {
    const trimmed = trimService(raw);
    expect(trimmed).toMatchObject({ key: undefined, problems: [{ field: 'metadata.name' }] });
    expect(trimmed.object).toBeUndefined();
  });

  it('never throws, whatever it is given', () => {
    const anything = fc.oneof(
      fc.jsonValue(),
      fc.record({
        metadata: fc.record({ name: fc.constant('a'), labels: fc.jsonValue() }),
        spec: fc.jsonValue(),
        status: fc.jsonValue(),
      }),
      fc
        .dictionary(
          fc.constantFrom('clusterIPs', 'ports', 'externalIPs', 'type', 'sessionAffinityConfig'),
          fc.jsonValue(),
        )
        .map(spec => service(spec)),
      fc
        .dictionary(fc.constantFrom('endpoints', 'ports', 'addressType', 'metadata'), fc.jsonValue())
        .map(extra => slice(extra)),
    );
    fc.assert(
      fc.property(anything, raw => {
        for (const trim of [trimService, trimEndpointSlice, trimNode])
          expect(Array.isArray(trim(raw).problems)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe('trimEndpointSlice', () => {
  it.each([
    ['2026-01-02T03:04:05.678901234Z', Date.UTC(2026, 0, 2, 3, 4, 5, 678)],
    ['2026-01-02T03:04:05Z', Date.UTC(2026, 0, 2, 3, 4, 5)],
    ['yesterday', 0],
  ])('reads when what led to it happened: %s', (time, changeTriggerMs) => {
    const raw = slice({ endpoints: [{ addresses: ['10.0.0.1'] }] }) as { metadata: object };
    const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': time };
    const trimmed = trimEndpointSlice({ ...raw, metadata: { ...raw.metadata, annotations } });
    expect(trimmed).toMatchObject({ problems: [], object: { changeTriggerMs } });
  });

  it('keeps what is used, with nil conditions as kube-proxy reads them', () => {
    const trimmed = trimEndpointSlice(
      slice({
        ports: [
          { name: 'http', port: 8080, protocol: 'TCP' },
          { port: 53, protocol: 'UDP' },
          { name: null, port: null },
          { port: 0 },
        ],
        endpoints: [
          { addresses: ['10.0.0.1'] },
          {
            addresses: ['10.0.0.2', '10.0.0.3'],
            conditions: { ready: false, serving: false, terminating: true },
            nodeName: 'n1',
            zone: 'z1',
            hostname: 'web-0',
            hints: { forZones: [{ name: 'z1' }, { name: 'z2' }], forNodes: [{ name: 'n1' }] },
          },
          { addresses: ['10.0.0.4'], conditions: { ready: null, serving: null, terminating: null } },
        ],
      }),
    );
    const open = {
      ready: true,
      serving: true,
      terminating: false,
      nodeName: '',
      zone: '',
      hostname: '',
      nodeHints: [],
      zoneHints: [],
    };
    expect(trimmed).toEqual({
      key: 'default/web-1',
      problems: [],
      object: {
        namespace: 'default',
        name: 'web-1',
        serviceName: 'web',
        family: 'IPv4',
        isHeadless: false,
        changeTriggerMs: 0,
        ports: [
          { name: 'http', protocol: 'TCP', port: 8080 },
          { name: '', protocol: 'UDP', port: 53 },
        ],
        endpoints: [
          { addresses: ['10.0.0.1'], ...open },
          {
            addresses: ['10.0.0.2', '10.0.0.3'],
            ready: false,
            serving: false,
            terminating: true,
            nodeName: 'n1',
            zone: 'z1',
            hostname: 'web-0',
            nodeHints: ['n1'],
            zoneHints: ['z1', 'z2'],
          },
          { addresses: ['10.0.0.4'], ...open },
        ],
      },
    });
  });

  it('leaves out impossible ports and addresses and those of the other family', () => {
    const trimmed = trimEndpointSlice(
      slice({
        ports: [{ port: 70000 }, { port: 80, protocol: 'GRE' }, { port: 81 }],
        endpoints: [
          { addresses: ['10.0.0.1', 'fd00::1', 'pod-1'] },
          { addresses: ['0.0.0.0'] },
          { addresses: [] },
          { addresses: ['10.0.0.2'], conditions: { ready: 'yes' } },
        ],
      }),
    );
    expect(trimmed.object?.ports).toEqual([{ name: '', protocol: 'TCP', port: 81 }]);
    expect(trimmed.object?.endpoints.map(endpoint => endpoint.addresses)).toEqual([['10.0.0.1'], ['10.0.0.2']]);
    expect(fieldsOf(trimmed)).toEqual([
      'ports[0].port',
      'ports[1].protocol',
      'endpoints[0].addresses[1]',
      'endpoints[0].addresses[2]',
      'endpoints[1].addresses[0]',
      'endpoints[2].addresses',
      'endpoints[3].conditions.ready',
    ]);
  });

  it('has no object and one problem for FQDN slices', () => {
    const trimmed = trimEndpointSlice(
      slice({ addressType: 'FQDN', endpoints: [{ addresses: ['a.example'] }, { addresses: ['b'] }] }),
    );
    expect(trimmed).not.toHaveProperty('object');
    expect(trimmed).toMatchObject({
      key: 'default/web-1',
      problems: [{ object: 'EndpointSlice default/web-1', field: 'addressType' }],
    });
  });

  it('ignores a slice that belongs to no Service', () => {
    const trimmed = trimEndpointSlice({ metadata: meta(), addressType: 'FQDN' });
    expect(trimmed).toEqual({ key: 'default/web', problems: [] });
  });

  it('sees the headless label with any value', () => {
    const labels = { 'kubernetes.io/service-name': 'web', 'service.kubernetes.io/headless': '' };
    const raw = { metadata: meta({ labels }), addressType: 'IPv6', endpoints: [{ addresses: ['FD00::0:1'] }] };
    expect(trimEndpointSlice(raw).object).toMatchObject({ isHeadless: true, endpoints: [{ addresses: ['fd00::1'] }] });
  });

  it('shares what repeats', () => {
    const endpoint = (n: number) => ({ addresses: [`10.0.0.${n}`], hints: { forZones: [{ name: 'z1' }] } });
    const endpoints = trimEndpointSlice(slice({ endpoints: [endpoint(1), endpoint(2)] })).object?.endpoints;
    expect(endpoints?.[0]?.zoneHints).toBe(endpoints?.[1]?.zoneHints);
    expect(endpoints?.[0]?.nodeHints).toBe(endpoints?.[1]?.nodeHints);
  });
});

describe('trimNode', () => {
  it('keeps labels, ranges, addresses, taint keys', () => {
    const raw = {
      metadata: {
        name: 'n1',
        uid: 'u',
        labels: { 'topology.kubernetes.io/zone': 'z1' },
        deletionTimestamp: '2026-11-20T16:34:41Z',
      },
      spec: {
        podCIDR: '10.244.1.0/24',
        podCIDRs: ['10.244.1.0/24', 'FD00:1::/64'],
        taints: [{ key: 'a', effect: 'NoSchedule' }],
      },
      status: {
        addresses: [
          { type: 'InternalIP', address: '192.0.2.001' },
          { type: 'Hostname', address: 'n1' },
          { type: 'ExternalIP', address: 'nowhere' },
        ],
      },
    };
    expect(trimNode(raw)).toEqual({
      key: 'n1',
      problems: [
        { object: 'Node n1', field: 'status.addresses[2].address', message: '"nowhere" is not an IP address' },
      ],
      object: {
        name: 'n1',
        uid: 'u',
        labels: { 'topology.kubernetes.io/zone': 'z1' },
        podCIDRs: ['10.244.1.0/24', 'fd00:1::/64'],
        addresses: [
          { type: 'InternalIP', address: '192.0.2.1' },
          { type: 'Hostname', address: 'n1' },
        ],
        taints: ['a'],
        isDeleting: true,
      },
    });
  });

  it('reads podCIDR when podCIDRs is missing', () => {
    expect(trimNode({ metadata: { name: 'n1' }, spec: { podCIDR: '10.0.0.1/24' } }).object).toMatchObject({
      podCIDRs: ['10.0.0.0/24'],
      isDeleting: false,
    });
  });
});

describe('a ServiceCIDR', () => {
  const trim = (spec: unknown) => TRIMMERS.ServiceCIDR({ metadata: { name: 'kubernetes' }, spec });

  it('has its ranges, canonical; what is none is left out by name', () => {
    expect(trim({ cidrs: ['10.96.0.1/16', 'FD00:96::/112'] })).toEqual({
      key: 'kubernetes',
      object: { name: 'kubernetes', cidrs: ['10.96.0.0/16', 'fd00:96::/112'] },
      problems: [],
    });
    const { object, problems } = trim({ cidrs: ['10.96.0.0', '10.97.0.0/16'] });
    expect(object?.cidrs).toEqual(['10.97.0.0/16']);
    expect(problems).toEqual([
      { object: 'ServiceCIDR kubernetes', field: 'spec.cidrs[0]', message: '"10.96.0.0" is not a CIDR' },
    ]);
    expect(trim(undefined).object?.cidrs).toEqual([]);
  });

  it('counts as long as it exists, whatever its state: kube-proxy takes it so, and Services may have its addresses', () => {
    const raw = {
      metadata: {
        name: 'old',
        deletionTimestamp: '2026-01-01T00:00:00Z',
        finalizers: ['networking.k8s.io/service-cidr-finalizer'],
      },
      spec: { cidrs: ['10.96.0.0/16'] },
      status: { conditions: [{ type: 'Ready', status: 'False', reason: 'Terminating' }] },
    };
    expect(TRIMMERS.ServiceCIDR(raw).object?.cidrs).toEqual(['10.96.0.0/16']);
  });
});

describe('recorded objects of a real API server', () => {
  it('have no problems', () => {
    const { exchanges } = JSON.parse(readFileSync('test/conformance/vectors/watch.json', 'utf8')) as {
      exchanges: {
        request: { path: string };
        body?: { items?: unknown[] };
        lines?: { type: string; object: unknown }[];
      }[];
    };
    const objects = exchanges.flatMap(({ request, body, lines }) => {
      const trim: (raw: unknown) => Trimmed<unknown> = request.path.includes('endpointslices')
        ? trimEndpointSlice
        : trimService;
      const changes = (lines ?? []).filter(line => /ADDED|MODIFIED|DELETED/.test(line.type)).map(line => line.object);
      return [...(body?.items ?? []), ...changes].map(trim);
    });
    expect(objects.length).toBeGreaterThan(20);
    expect(objects.filter(trimmed => trimmed.object === undefined || trimmed.problems.length > 0)).toEqual([]);
  });
});

describe('memory', () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage: () => void = runInNewContext('gc');
  const heapBytes = () => {
    collectGarbage();
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };

  /** Objects as a client could hand them over: every text cut out of one huge text. */
  const hugeSlice = (number: number) => {
    const endpoint = (i: number) => {
      const id = number * 100 + i;
      const conditions = { ready: true, serving: true, terminating: false };
      const targetRef = {
        kind: 'Pod',
        name: `web-pod-with-a-long-name-${id}`,
        namespace: 'default',
        uid: `${id}-0000-0000-0000`,
      };
      const addresses = [`10.${100 + (id >> 16)}.${(id >> 8) & 255}.${id & 255}`];
      return {
        addresses,
        conditions,
        nodeName: `node-${id % 100}.some-region.compute.internal`,
        zone: 'some-region-1a',
        targetRef,
      };
    };
    const text = JSON.stringify(
      slice({ endpoints: Array.from({ length: 100 }, (_, i) => endpoint(i)), padding: 'x'.repeat(50_000) }),
    );
    return JSON.parse(text, (_, value) =>
      typeof value === 'string' ? text.slice(text.indexOf(value)).slice(0, value.length) : value,
    );
  };

  it('50 000 endpoints cost less than 300 bytes each, and nothing of the raw text stays alive', () => {
    const before = heapBytes();
    const slices = Array.from({ length: 500 }, (_, number) => trimEndpointSlice(hugeSlice(number)).object);
    const perEndpoint = (heapBytes() - before) / 50_000;
    expect(slices.at(-1)?.endpoints.length).toBe(100);
    expect(perEndpoint).toBeLessThan(300);
  });
});
