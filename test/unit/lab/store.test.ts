import { describe, expect, test } from 'vitest';
import type { StoreEvent } from '../../../src/lab/apiserver/history.ts';
import { StatusError } from '../../../src/lab/apiserver/status.ts';
import { Store } from '../../../src/lab/apiserver/store.ts';
import { service } from './api-client.ts';

/** The Status that a call is refused with. */
function refusal(run: () => unknown): { code: number; message: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof StatusError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('the call was not refused');
}

function record(store: Store, id: 'services' | 'pods' | 'namespaces' | 'configmaps'): string[] {
  const seen: string[] = [];
  store.subscribe(id, ({ type, current }: StoreEvent) => seen.push(`${type} ${current.key}@${current.revision}`));
  return seen;
}

describe('the store', () => {
  test('begins with the namespaces of a new cluster', () => {
    const names = new Store().list('namespaces').map(namespace => namespace.metadata.name);
    expect(names).toEqual(['default', 'kube-node-lease', 'kube-public', 'kube-system']);
  });

  test('numbers every write from one counter and tells its listeners', () => {
    const store = new Store();
    const seen = record(store, 'configmaps');
    const first = store.revision;
    store.create('configmaps', 'default', { metadata: { name: 'a' } });
    store.update('configmaps', 'default', 'a', { metadata: { name: 'a' }, data: { x: '1' } });
    store.delete('configmaps', 'default', 'a');
    expect(seen).toEqual([
      `ADDED default/a@${first + 1}`,
      `MODIFIED default/a@${first + 2}`,
      `DELETED default/a@${first + 3}`,
    ]);
  });

  test('does not change what the caller passed, nor what it returned before', () => {
    const store = new Store();
    const input = { metadata: { name: 'a' }, data: { x: '1' } };
    const created = store.create('configmaps', 'default', input).object;
    store.patch('configmaps', 'default', 'a', current => ({ ...current, data: { x: '2' } }));
    expect(input).toEqual({ metadata: { name: 'a' }, data: { x: '1' } });
    expect(created.data).toEqual({ x: '1' });
  });

  test('an update without a difference is no write', () => {
    const store = new Store();
    const { object, revision } = store.create('services', 'default', service('a'));
    expect(store.update('services', 'default', 'a', object).revision).toBe(revision);
    expect(store.update('services', 'default', 'a', service('a')).revision).toBe(revision);
  });

  test('refuses stale versions and foreign uids with 409', () => {
    const store = new Store();
    const old = store.create('services', 'default', service('a')).object;
    store.patch('services', 'default', 'a', current => ({
      ...current,
      metadata: { ...current.metadata, labels: { n: '1' } },
    }));
    expect(refusal(() => store.update('services', 'default', 'a', old))).toEqual({
      code: 409,
      message:
        'Operation cannot be fulfilled on services "a": the object has been modified; please apply your changes to the latest version and try again',
    });
    const { message } = refusal(() =>
      store.update('services', 'default', 'a', { ...service('a'), metadata: { uid: 'x' } }),
    );
    expect(message).toContain('Precondition failed: UID in precondition: x, UID in object meta: ');
    expect(refusal(() => store.delete('services', 'default', 'a', { uid: 'x' })).code).toBe(409);
  });

  test.each([
    [
      'a namespace that does not exist',
      () => new Store().create('services', 'x', service('a')),
      404,
      'namespaces "x" not found',
    ],
    [
      'an object that does not exist',
      () => new Store().delete('endpointslices', 'default', 'a'),
      404,
      'endpointslices.discovery.k8s.io "a" not found',
    ],
    [
      'no name',
      () => new Store().create('configmaps', 'default', {}),
      422,
      'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
    ],
    [
      'another kind',
      () => new Store().create('services', 'default', { kind: 'Pod', metadata: { name: 'a' } }),
      400,
      'Pod in version "v1" cannot be handled as a Service: converting (Pod) to (Service): unknown conversion',
    ],
    [
      'another namespace than the path',
      () => new Store().create('services', 'default', { metadata: { name: 'a', namespace: 'b' } }),
      400,
      'the namespace of the provided object does not match the namespace sent on the request',
    ],
    [
      'a spec that is no object',
      () => new Store().create('services', 'default', { metadata: { name: 'a' }, spec: 7 }),
      400,
      'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal spec into a Go value of type object',
    ],
    [
      'the deletion of a permanent namespace',
      () => new Store().delete('namespaces', '', 'default'),
      403,
      'namespaces "default" is forbidden: this namespace may not be deleted',
    ],
  ])('refuses %s', (_name, run, code, message) => {
    expect(refusal(run)).toEqual({ code, message });
  });

  test('generates names', () => {
    const { object } = new Store().create('configmaps', 'default', { metadata: { generateName: 'a-' } });
    expect(object.metadata.name).toMatch(/^a-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  });

  test('a dry run answers without storing, and takes no address', () => {
    const store = new Store();
    const before = store.revision;
    const dry = store.create('services', 'default', service('a', { clusterIP: '10.96.0.9' }), { dryRun: true });
    expect(dry.object.spec).toMatchObject({ clusterIP: '10.96.0.9' });
    expect([store.revision, store.list('services')]).toEqual([before, []]);
    expect(store.create('services', 'default', service('b', { clusterIP: '10.96.0.9' })).revision).toBe(before + 1);
  });

  test('a status is changed only through its subresource', () => {
    const store = new Store();
    store.create('services', 'default', {
      ...service('a'),
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } },
    });
    expect(store.get('services', 'default', 'a')?.status).toEqual({ loadBalancer: {} });
    const status = { loadBalancer: { ingress: [{ ip: '192.0.2.2' }] } };
    store.update(
      'services',
      'default',
      'a',
      { ...service('a', { type: 'NodePort' }), status },
      { subresource: 'status' },
    );
    expect(store.get('services', 'default', 'a')).toMatchObject({ status, spec: { type: 'ClusterIP' } });
    store.update('services', 'default', 'a', service('a', { type: 'NodePort' }));
    expect(store.get('services', 'default', 'a')).toMatchObject({ status, spec: { type: 'NodePort' } });
  });

  test('a test may create objects with their status', () => {
    const status = { phase: 'Running', podIP: '10.0.0.1' };
    const { object } = new Store().create('pods', 'default', { metadata: { name: 'a' }, status }, { keepStatus: true });
    expect(object.status).toEqual(status);
  });

  test('finalizers hold a deletion back until the last one goes', () => {
    const store = new Store();
    const seen = record(store, 'services');
    store.create('services', 'default', { ...service('a'), metadata: { name: 'a', finalizers: ['x/y'] } });
    expect(store.delete('services', 'default', 'a').isRemoved).toBe(false);
    expect(store.get('services', 'default', 'a')?.metadata.deletionTimestamp).toBeDefined();
    store.patch('services', 'default', 'a', current => ({
      ...current,
      metadata: { ...current.metadata, finalizers: [] },
    }));
    expect(seen.map(line => line.split('@')[0])).toEqual([
      'ADDED default/a',
      'MODIFIED default/a',
      'MODIFIED default/a',
      'DELETED default/a',
    ]);
  });

  test('a Pod with a grace period is marked, and goes with the second delete', () => {
    const store = new Store({ now: () => new Date('2026-01-01T00:00:00Z') });
    store.create('pods', 'default', { metadata: { name: 'a' } });
    store.delete('pods', 'default', 'a', { gracePeriodSeconds: 30 });
    expect(store.get('pods', 'default', 'a')?.metadata).toMatchObject({
      deletionTimestamp: '2026-01-01T00:00:30Z',
      deletionGracePeriodSeconds: 30,
    });
    store.delete('pods', 'default', 'a', { gracePeriodSeconds: 0 });
    expect(store.get('pods', 'default', 'a')).toBeUndefined();
  });

  test('a namespace takes everything inside with it', () => {
    const store = new Store();
    store.create('namespaces', '', { metadata: { name: 'a' } });
    store.create('namespaces', '', { metadata: { name: 'a-b' } });
    store.create('services', 'a', service('s', { clusterIP: '10.96.0.7' }));
    store.create('services', 'a-b', service('s'));
    store.delete('namespaces', '', 'a');
    expect(store.list('services').map(({ metadata }) => metadata.namespace)).toEqual(['a-b']);
    expect(store.create('services', 'default', service('t', { clusterIP: '10.96.0.7' })).object.metadata.name).toBe(
      't',
    );
  });

  test('counts the generation of a slice by its content, not by its annotations', () => {
    const store = new Store();
    const slice = { metadata: { name: 'a' }, addressType: 'IPv4', endpoints: [{ addresses: ['10.0.0.1'] }], ports: [] };
    store.create('endpointslices', 'default', slice);
    const annotated = { ...slice, metadata: { name: 'a', annotations: { x: 'y' } } };
    expect(store.update('endpointslices', 'default', 'a', annotated).object.metadata.generation).toBe(1);
    const emptied = { ...slice, endpoints: [] };
    expect(store.update('endpointslices', 'default', 'a', emptied).object.metadata.generation).toBe(2);
  });

  test('without validation it stores impossible objects', () => {
    const store = new Store({ validate: false });
    const spec = { clusterIP: '999.1.1.1', ports: [{ port: 99_999 }] };
    expect(store.create('services', 'default', service('Bad_Name', spec)).object.spec).toMatchObject(spec);
    const slice = { metadata: { name: 'a' }, addressType: 'IPv4', endpoints: [{ addresses: ['nonsense'] }] };
    expect(store.create('endpointslices', 'default', slice).object.endpoints).toEqual([{ addresses: ['nonsense'] }]);
  });
});
