import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type EndpointSliceController,
  startEndpointSliceController,
} from '../../../src/lab/apiserver/endpointslice-controller.ts';
import type { SliceObject } from '../../../src/lab/apiserver/kinds.ts';
import { Store } from '../../../src/lab/apiserver/store.ts';
import { service } from './api-client.ts';

let store: Store;
let controller: EndpointSliceController;
let stop: AbortController;

beforeEach(() => {
  store = new Store({ serviceCIDRs: ['10.96.0.0/12', 'fd00:10:96::/112'] });
  stop = new AbortController();
  controller = startEndpointSliceController({ store, signal: stop.signal });
});
afterEach(() => stop.abort());

interface PodOptions {
  readonly ready?: boolean;
  readonly spec?: object;
  readonly status?: object;
  readonly labels?: Record<string, string>;
  readonly ips?: readonly string[];
}

function putPod(
  name: string,
  { ready = true, spec = {}, status = {}, labels = { app: 'web' }, ips = ['10.0.0.1'] }: PodOptions = {},
): void {
  const podIPs = ips.map(ip => ({ ip }));
  const conditions = [{ type: 'Ready', status: ready ? 'True' : 'False' }];
  const pod = {
    metadata: { name, labels },
    spec,
    status: { phase: 'Running', podIP: ips[0], podIPs, conditions, ...status },
  };
  if (store.get('pods', 'default', name) === undefined) store.create('pods', 'default', pod, { keepStatus: true });
  else store.update('pods', 'default', name, pod, { subresource: 'status' });
}

function slices(): SliceObject[] {
  controller.sync();
  return store.list('endpointslices') as SliceObject[];
}

/** `address ready/serving/terminating` of every endpoint. */
function endpoints(): string[] {
  return slices().flatMap(slice =>
    (slice.endpoints ?? []).map(({ addresses, conditions }) => {
      const flags = [conditions?.ready, conditions?.serving, conditions?.terminating].map(flag => (flag ? 'y' : 'n'));
      return `${addresses.join()} ${flags.join('')}`;
    }),
  );
}

const web = service('web', { selector: { app: 'web' } });

describe('the EndpointSlice controller', () => {
  test('makes a slice with the marks of a real one', () => {
    store.create('nodes', '', { metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z1' } } });
    store.create('services', 'default', web);
    putPod('p', { spec: { nodeName: 'n1', hostname: 'h', subdomain: 'web' } });
    const [slice] = slices();
    expect(slice).toMatchObject({
      metadata: {
        name: expect.stringMatching(/^web-[a-z0-9]{5}$/),
        labels: {
          'kubernetes.io/service-name': 'web',
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        },
        ownerReferences: [{ kind: 'Service', name: 'web', controller: true }],
      },
      addressType: 'IPv4',
      ports: [{ name: 'p', protocol: 'TCP', port: 8080 }],
      endpoints: [
        {
          addresses: ['10.0.0.1'],
          conditions: { ready: true, serving: true, terminating: false },
          targetRef: { kind: 'Pod', name: 'p', namespace: 'default' },
          nodeName: 'n1',
          zone: 'z1',
          hostname: 'h',
        },
      ],
    });
  });

  test('follows readiness, termination and deletion of Pods', () => {
    store.create('services', 'default', web);
    expect([slices().length, endpoints()]).toEqual([1, []]);
    putPod('p', { ready: false });
    expect(endpoints()).toEqual(['10.0.0.1 nnn']);
    putPod('p');
    expect(endpoints()).toEqual(['10.0.0.1 yyn']);
    store.delete('pods', 'default', 'p', { gracePeriodSeconds: 30 });
    expect(endpoints()).toEqual(['10.0.0.1 nyy']);
    store.delete('pods', 'default', 'p');
    expect(endpoints()).toEqual([]);
  });

  test('leaves out Pods that ended, have no address or other labels', () => {
    store.create('services', 'default', web);
    putPod('ended', { status: { phase: 'Succeeded' } });
    putPod('waiting', { ips: [] });
    putPod('other', { labels: { app: 'db' } });
    expect(endpoints()).toEqual([]);
  });

  test('publishes Pods that are not ready when asked', () => {
    store.create('services', 'default', service('web', { selector: { app: 'web' }, publishNotReadyAddresses: true }));
    putPod('p', { ready: false });
    expect(endpoints()).toEqual(['10.0.0.1 ynn']);
  });

  test('resolves named target ports on each Pod', () => {
    store.create(
      'services',
      'default',
      service('web', { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] }),
    );
    const container = (containerPort: number): object => ({
      containers: [{ name: 'c', ports: [{ name: 'http', containerPort }] }],
    });
    putPod('a', { spec: container(8080) });
    putPod('b', { spec: container(9090), ips: ['10.0.0.2'] });
    putPod('c', { ips: ['10.0.0.3'] });
    const byPort = slices().map(({ ports, endpoints: list }) => [ports?.[0]?.port, list?.[0]?.addresses[0]]);
    expect(byPort.sort()).toEqual([
      [undefined, '10.0.0.3'],
      [8080, '10.0.0.1'],
      [9090, '10.0.0.2'],
    ]);
  });

  test('makes one slice per family, and marks headless ones', () => {
    const spec = { selector: { app: 'web' }, clusterIP: 'None', ipFamilyPolicy: 'PreferDualStack' };
    store.create('services', 'default', service('web', spec));
    putPod('p', { ips: ['10.0.0.1', 'fd00::1'] });
    expect(
      slices()
        .map(({ addressType }) => addressType)
        .sort(),
    ).toEqual(['IPv4', 'IPv6']);
    expect(endpoints().sort()).toEqual(['10.0.0.1 yyn', 'fd00::1 yyn']);
    expect(slices()[0]?.metadata.labels).toHaveProperty(['service.kubernetes.io/headless'], '');
  });

  test('puts at most 100 endpoints into a slice, and changes only the slice concerned', () => {
    store.create('services', 'default', web);
    for (let n = 0; n < 250; n += 1) putPod(`p${String(n).padStart(3, '0')}`, { ips: [`10.0.1.${n}`] });
    expect(
      slices()
        .map(slice => slice.endpoints?.length)
        .sort(),
    ).toEqual([100, 100, 50]);
    const before = new Map(slices().map(slice => [slice.metadata.name, slice.metadata.resourceVersion]));
    putPod('p120', { ready: false, ips: ['10.0.1.120'] });
    const changed = slices().filter(slice => before.get(slice.metadata.name) !== slice.metadata.resourceVersion);
    expect(changed).toHaveLength(1);
  });

  test('writes nothing without a change', () => {
    store.create('services', 'default', web);
    putPod('p');
    slices();
    const before = store.revision;
    store.patch('services', 'default', 'web', current => ({ ...current, status: { loadBalancer: {} } }));
    controller.sync();
    controller.sync();
    expect(store.revision).toBe(before);
  });

  test('removes the slices of a deleted Service, and repairs ones that were touched', () => {
    store.create('services', 'default', web);
    putPod('p');
    const [slice] = slices();
    const name = slice?.metadata.name ?? '';
    store.patch('endpointslices', 'default', name, current => ({ ...current, endpoints: [] }));
    expect(endpoints()).toEqual(['10.0.0.1 yyn']);
    store.delete('endpointslices', 'default', name);
    expect(endpoints()).toEqual(['10.0.0.1 yyn']);
    store.delete('services', 'default', 'web');
    expect(slices()).toEqual([]);
  });

  test('leaves foreign slices and Services without a selector alone', () => {
    store.create('services', 'default', service('manual'));
    const labels = { 'kubernetes.io/service-name': 'manual' };
    store.create('endpointslices', 'default', {
      metadata: { name: 'own', labels },
      addressType: 'IPv4',
      endpoints: [],
    });
    expect(slices().map(({ metadata }) => metadata.name)).toEqual(['own']);
    store.delete('services', 'default', 'manual');
    expect(slices().map(({ metadata }) => metadata.name)).toEqual(['own']);
  });

  test('follows the zone of a Node', () => {
    store.create('services', 'default', web);
    putPod('p', { spec: { nodeName: 'n1' } });
    expect(slices()[0]?.endpoints?.[0]?.zone).toBeUndefined();
    store.create('nodes', '', { metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z9' } } });
    expect(slices()[0]?.endpoints?.[0]?.zone).toBe('z9');
  });

  test('takes over what exists when it starts, and stops when told', async () => {
    stop.abort();
    store.create('services', 'default', web);
    putPod('p');
    expect(store.list('endpointslices')).toEqual([]);
    const next = new AbortController();
    startEndpointSliceController({ store, signal: next.signal });
    await new Promise(resolve => setImmediate(resolve));
    expect(store.list('endpointslices')).toHaveLength(1);
    next.abort();
  });
});
