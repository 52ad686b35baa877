import { describe, expect, it } from 'vitest';
import { endpointCount, endpointsOf } from '../../../../src/dns/zone/dns-service.ts';
import { dnsServiceOf } from '../../../../src/dns/zone/from-objects.ts';
import type { EndpointSlice, Service } from '../../../../src/watch/objects.ts';
import { trimEndpointSlice, trimService } from '../../../../src/watch/trim.ts';
import { trimEndpoints } from '../../../../src/watch/trim-endpoints.ts';

const PLAIN = { endpointPodNames: false };
const metadata = { namespace: 'default', name: 'web' };
const service = (spec: object): Service => trimService({ metadata, spec }).object!;

function slice(endpoints: readonly object[], ports: readonly object[] = [{ name: 'http', port: 80 }]): EndpointSlice {
  const labels = { 'kubernetes.io/service-name': 'web' };
  const raw = { metadata: { ...metadata, labels }, addressType: 'IPv4', endpoints, ports };
  return trimEndpointSlice(raw, { keepsPodNames: true }).object!;
}

const pod = (ip: string, more: object = {}) => ({ addresses: [ip], ...more });
const endpoints = (slices: readonly EndpointSlice[], naming = PLAIN) => [
  ...endpointsOf(dnsServiceOf(service({ clusterIP: 'None' }), slices, naming)!),
];

describe('a Service as names see it', () => {
  it.each([
    ['with a cluster IP', { clusterIP: '10.96.0.1' }, { kind: 'cluster-ip', clusterIPs: ['10.96.0.1'] }],
    ['headless', { clusterIP: 'None' }, { kind: 'headless', clusterIPs: [] }],
    [
      'of another name',
      { type: 'ExternalName', externalName: 'WWW.Example.com.' },
      { kind: 'external-name', externalName: 'www.example.com' },
    ],
  ])('%s', (_what, spec, wanted) => {
    expect(dnsServiceOf(service(spec), [], PLAIN)).toMatchObject(wanted);
  });

  it.each([
    ['without an address yet', { type: 'ClusterIP' }],
    ['of an IPv4 address', { type: 'ExternalName', externalName: '192.0.2.1' }],
    ['of a name with an empty label', { type: 'ExternalName', externalName: 'a..b' }],
    ['of a label that is too long', { type: 'ExternalName', externalName: `${'x'.repeat(64)}.test` }],
    ['of a name that is too long', { type: 'ExternalName', externalName: 'x.'.repeat(128) }],
    ['of no name', { type: 'ExternalName' }],
  ])('is none %s', (_what, spec) => {
    expect(dnsServiceOf(service(spec), [], PLAIN)).toBeUndefined();
  });

  it('has its ready endpoints, by hostname or address, a group for each slice', () => {
    const one = slice([
      pod('10.244.0.1', { hostname: 'DB-0' }),
      pod('10.244.0.2'),
      pod('10.244.0.3', { conditions: { ready: false } }),
    ]);
    const other = slice([pod('10.244.0.4')], [{ name: 'http', port: 8080 }]);
    const empty = slice([pod('10.244.0.5', { conditions: { ready: false } })]);
    const made = dnsServiceOf(service({ clusterIP: 'None' }), [one, other, empty], PLAIN)!;
    expect(made.groups.map(({ packed }) => packed)).toEqual(['10.244.0.1 db-0\n10.244.0.2', '10.244.0.4']);
    expect(endpointCount(made)).toBe(3);
    expect([...endpointsOf(made)].map(({ label, ports }) => [label, ports[0]?.port])).toEqual([
      ['db-0', 80],
      ['10-244-0-2', 80],
      ['10-244-0-4', 8080],
    ]);
  });

  it('has endpoints called as their pods where that is asked for, and the name is a label', () => {
    const named = (name: string) => pod('10.244.0.1', { targetRef: { kind: 'Pod', name } });
    const labels = (each: object, naming = { endpointPodNames: true }) =>
      endpoints([slice([each])], naming).map(({ label }) => label);
    expect(labels(named('web-abcde'))).toEqual(['web-abcde']);
    expect(labels({ ...named('web-abcde'), hostname: 'db-0' })).toEqual(['db-0']);
    expect(labels(named('x'.repeat(64)))).toEqual(['10-244-0-1']);
    expect(labels(named('a.b'))).toEqual(['10-244-0-1']);
    expect(labels(named('web-abcde'), PLAIN)).toEqual(['10-244-0-1']);
  });

  it('leaves out a hostname that would break the name', () => {
    expect(
      endpoints([slice([pod('10.244.0.1', { hostname: 'a.b' }), pod('10.244.0.2', { hostname: 'x y\n' })])]).map(
        ({ label }) => label,
      ),
    ).toEqual(['10-244-0-1', '10-244-0-2']);
  });

  it('passes between threads as it is', () => {
    const made = dnsServiceOf(service({ clusterIP: 'None' }), [slice([pod('10.244.0.1')])], PLAIN);
    expect(structuredClone(made)).toEqual(made);
  });
});

describe('names of pods', () => {
  const raw = { addresses: ['10.244.0.1'], targetRef: { kind: 'Pod', name: 'web-abcde' } };
  const labels = { 'kubernetes.io/service-name': 'web' };
  it('are kept where they are asked for, and else are not even a field', () => {
    const object = { metadata: { ...metadata, labels }, addressType: 'IPv4', endpoints: [raw] };
    expect(trimEndpointSlice(object, { keepsPodNames: true }).object?.endpoints[0]?.podName).toBe('web-abcde');
    expect(Object.keys(trimEndpointSlice(object).object!.endpoints[0]!)).not.toContain('podName');
  });

  it('are kept of Endpoints too', () => {
    const subsets = [{ addresses: [{ ip: '10.244.0.1', targetRef: { kind: 'Pod', name: 'web-abcde' } }] }];
    const trimmed = (keepsPodNames: boolean) =>
      trimEndpoints({ metadata, subsets }, { keepsPodNames }).object?.[0]?.endpoints[0];
    expect([trimmed(true)?.podName, Object.keys(trimmed(false)!).includes('podName')]).toEqual(['web-abcde', false]);
  });
});
