import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiServer, startApiServer } from '../../../src/lab/apiserver/server.ts';
import { humanDuration } from '../../../src/lab/apiserver/table.ts';
import { call, service, WatchReader } from './api-client.ts';

const services = '/api/v1/namespaces/default/services';
const table =
  'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json';
let server: ApiServer;

beforeAll(async () => {
  server = await startApiServer({ host: '127.0.0.1', port: 0 });
});
afterAll(() => server.close());

async function post(path: string, body: unknown): Promise<void> {
  const answer = await call(server.url, path, { method: 'POST', body });
  expect(answer.status).toBe(201);
}

describe('documents', () => {
  test('discovery names every group and resource', async () => {
    expect((await call(server.url, '/api')).body.versions).toEqual(['v1']);
    const { body } = await call(server.url, '/apis');
    expect(body.groups.map((group: { name: string }) => group.name)).toEqual([
      'events.k8s.io',
      'networking.k8s.io',
      'discovery.k8s.io',
      'coordination.k8s.io',
    ]);
    const core = (await call(server.url, '/api/v1')).body.resources;
    expect(core).toContainEqual(expect.objectContaining({ name: 'services', shortNames: ['svc'], namespaced: true }));
    expect(core).toContainEqual(expect.objectContaining({ name: 'nodes/status', verbs: ['get', 'patch', 'update'] }));
    expect((await call(server.url, '/apis/discovery.k8s.io')).body.preferredVersion.version).toBe('v1');
  });

  test('OpenAPI offers enough for kubectl to leave checking to the server', async () => {
    const { paths } = (await call(server.url, '/openapi/v3')).body;
    const { serverRelativeURL } = paths['apis/discovery.k8s.io/v1'];
    const document = (await call(server.url, serverRelativeURL)).body;
    const [path = ''] = Object.keys(document.paths);
    expect(path).toBe('/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{name}');
    expect(document.paths[path].patch.parameters).toContainEqual({ name: 'fieldValidation', in: 'query' });
    expect((await call(server.url, '/openapi/v2')).body.swagger).toBe('2.0');
    const accept = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
    expect((await call(server.url, '/openapi/v2', { accept })).text).toBe('\n\u00032.0');
  });

  test.each(['/healthz', '/livez', '/readyz'])('%s is ok', async path => {
    expect((await call(server.url, path)).text).toBe('ok');
  });

  test.each(['/', '/apis/none/v1', '/api/v2/services'])('%s is not there', async path => {
    const { status, text } = await call(server.url, path);
    expect([status, text]).toEqual([404, '404 page not found\n']);
  });
});

describe('methods', () => {
  test('PUT, PATCH and DELETE answer the object', async () => {
    await post(services, service('put'));
    const put = await call(server.url, `${services}/put`, {
      method: 'PUT',
      body: service('put', { type: 'NodePort' }),
    });
    expect([put.status, put.body.spec.type]).toEqual([200, 'NodePort']);
    const patched = await call(server.url, `${services}/put/status`, {
      method: 'PATCH',
      type: 'application/merge-patch+json',
      body: { status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } }, spec: { type: 'ClusterIP' } },
    });
    expect([patched.body.status.loadBalancer.ingress, patched.body.spec.type]).toEqual([
      [{ ip: '192.0.2.1' }],
      'NodePort',
    ]);
    const gone = await call(server.url, `${services}/put`, { method: 'DELETE' });
    expect([gone.status, gone.body.kind, gone.body.metadata.name]).toEqual([200, 'Service', 'put']);
    expect((await call(server.url, `${services}/put`)).status).toBe(404);
  });

  test('kinds that are not returned are confirmed by a Status', async () => {
    const path = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
    await post(path, { metadata: { name: 'l' }, spec: { holderIdentity: 'me' } });
    const { body } = await call(server.url, `${path}/l`, { method: 'DELETE' });
    const details = { name: 'l', group: 'coordination.k8s.io', kind: 'leases', uid: expect.any(String) };
    expect(body).toEqual({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details });
  });

  test('PUT creates a Lease that is not there', async () => {
    const path = '/apis/coordination.k8s.io/v1/namespaces/default/leases/new';
    expect((await call(server.url, path, { method: 'PUT', body: { metadata: { name: 'new' } } })).status).toBe(201);
  });

  test('apply creates, then merges', async () => {
    const apply = (text: string): ReturnType<typeof call> =>
      call(server.url, `${services}/applied?fieldManager=x`, {
        method: 'PATCH',
        type: 'application/apply-patch+yaml',
        body: text,
      });
    const created = await apply('{metadata: {name: applied}, spec: {ports: [{port: 80}], selector: {a: b}}}');
    const merged = await apply('{metadata: {labels: {x: y}}, spec: {ports: [{port: 80, targetPort: 8080}]}}');
    expect([created.status, merged.status]).toEqual([201, 200]);
    expect(merged.body).toMatchObject({
      metadata: { labels: { x: 'y' } },
      spec: { ports: [{ port: 80, targetPort: 8080, protocol: 'TCP' }], selector: { a: 'b' } },
    });
  });

  test('a collection is deleted by selector', async () => {
    const path = '/api/v1/namespaces/default/configmaps';
    for (const name of ['a', 'b']) await post(path, { metadata: { name, labels: { name } } });
    const { body } = await call(server.url, `${path}?labelSelector=name%3Da`, { method: 'DELETE' });
    expect(body.items).toHaveLength(1);
    expect((await call(server.url, path)).body.items).toMatchObject([{ metadata: { name: 'b' } }]);
  });

  test('a Pod is given its grace period from the body or the query', async () => {
    const path = '/api/v1/namespaces/default/pods';
    await post(path, {
      metadata: { name: 'p' },
      spec: { containers: [{ name: 'c', ports: [{ containerPort: 80 }] }] },
    });
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: 30 };
    const marked = await call(server.url, `${path}/p`, { method: 'DELETE', body });
    expect(marked.body.metadata.deletionGracePeriodSeconds).toBe(30);
    expect(marked.body.spec.containers[0].ports).toEqual([{ containerPort: 80, protocol: 'TCP' }]);
    await call(server.url, `${path}/p?gracePeriodSeconds=0`, { method: 'DELETE' });
    expect((await call(server.url, `${path}/p`)).status).toBe(404);
  });

  test.each([
    ['POST', '/api/v1/services', 405, 'MethodNotAllowed'],
    ['PUT', services, 405, 'MethodNotAllowed'],
    ['DELETE', '/api/v1/services', 405, 'MethodNotAllowed'],
    ['GET', '/api/v1/services/x', 404, 'NotFound'],
    ['GET', `${services}/x/scale`, 404, 'NotFound'],
    ['GET', '/api/v1/namespaces/default/nodes', 404, 'NotFound'],
  ])('%s %s is refused', async (method, path, status, reason) => {
    const answer = await call(server.url, path, { method });
    expect([answer.status, answer.body.reason]).toEqual([status, reason]);
  });

  test('bodies that cannot be read are refused', async () => {
    const send = (body: string, type: string): ReturnType<typeof call> =>
      call(server.url, services, { method: 'POST', body, type });
    expect((await send('{', 'application/json')).status).toBe(400);
    expect((await send('[]', 'application/json')).status).toBe(400);
    expect((await send('k8s', 'application/vnd.kubernetes.protobuf')).status).toBe(400);
    expect((await send('k8s', 'application/cbor')).status).toBe(415);
    expect((await send('metadata: {name: yaml}\nspec: {ports: [{port: 80}]}', 'application/yaml')).status).toBe(201);
  });
});

describe('representations', () => {
  test('a Table has the columns of kubectl', async () => {
    await post(
      services,
      service('table', { type: 'LoadBalancer', selector: { a: 'b' }, ports: [{ port: 80, nodePort: 30_123 }] }),
    );
    const { body } = await call(server.url, `${services}?fieldSelector=metadata.name%3Dtable`, { accept: table });
    expect(body.kind).toBe('Table');
    expect(body.columnDefinitions.map((column: { name: string }) => column.name)).toEqual([
      'Name',
      'Type',
      'Cluster-IP',
      'External-IP',
      'Port(s)',
      'Age',
      'Selector',
    ]);
    expect(body.rows[0].cells).toEqual([
      'table',
      'LoadBalancer',
      expect.stringMatching(/^10\.96\./),
      '<pending>',
      '80:30123/TCP',
      expect.stringMatching(/^\d+s$/),
      'a=b',
    ]);
    expect(body.rows[0].object.kind).toBe('PartialObjectMetadata');
  });

  test('a watch speaks Tables too', async () => {
    const watch = await WatchReader.open(server.url, '/api/v1/nodes?watch=1', table);
    server.store.create('nodes', '', {
      metadata: { name: 'n', labels: { 'node-role.kubernetes.io/worker': '' } },
      status: {
        conditions: [{ type: 'Ready', status: 'True' }],
        addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
      },
    });
    await watch.atLeast(1);
    expect(watch.lines[0]?.object.rows[0].cells.slice(0, 6)).toEqual(['n', 'Ready', 'worker', '0s', '', '192.0.2.1']);
    watch.close();
  });

  test('metadata alone', async () => {
    const accept = 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io';
    const { body } = await call(server.url, '/api/v1/namespaces?limit=1', { accept });
    expect(body.items[0]).toEqual({
      kind: 'PartialObjectMetadata',
      apiVersion: 'meta.k8s.io/v1',
      metadata: expect.objectContaining({ name: 'default' }),
    });
  });

  test('protobuf gives way to JSON, and nothing else is spoken', async () => {
    const accept = (value: string): ReturnType<typeof call> => call(server.url, services, { accept: value });
    expect((await accept('application/vnd.kubernetes.protobuf, */*')).headers['content-type']).toBe('application/json');
    expect((await accept('application/vnd.kubernetes.protobuf')).status).toBe(406);
  });

  test('an Event is one object under two groups', async () => {
    const v1 = '/apis/events.k8s.io/v1/namespaces/default/events';
    const regarding = { kind: 'Service', name: 'web', namespace: 'default' };
    const event = { metadata: { name: 'e' }, regarding, note: 'hello', reason: 'Test', reportingController: 'me' };
    await post(v1, event);
    const served = await call(server.url, `${v1}?fieldSelector=regarding.name%3Dweb`);
    expect(served.body).toMatchObject({
      kind: 'EventList',
      apiVersion: 'events.k8s.io/v1',
      items: [{ regarding, note: 'hello' }],
    });
    const core = await call(server.url, '/api/v1/namespaces/default/events/e');
    expect(core.body).toMatchObject({
      apiVersion: 'v1',
      involvedObject: regarding,
      message: 'hello',
      reportingComponent: 'me',
    });
    const patch = { method: 'PATCH', type: 'application/merge-patch+json', body: { note: 'again' } };
    const patched = await call(server.url, `${v1}/e`, patch);
    expect(patched.body).toMatchObject({ apiVersion: 'events.k8s.io/v1', note: 'again' });
  });

  test.each([
    [0, '0s'],
    [119, '119s'],
    [125, '2m5s'],
    [600, '10m'],
    [3 * 3600, '3h'],
    [3 * 3600 + 60, '3h1m'],
    [30 * 3600, '30h'],
    [3 * 86_400 + 3600, '3d1h'],
    [20 * 86_400, '20d'],
    [800 * 86_400, '2y'],
  ])('%i seconds are %s', (seconds, text) => {
    expect(humanDuration(seconds * 1000)).toBe(text);
  });
});
