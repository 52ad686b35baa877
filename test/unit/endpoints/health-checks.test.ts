import { describe, expect, it, test } from 'vitest';
import { changedServices, healthCheckOf } from '../../../src/endpoints/health-checks.ts';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import { countNoLocal } from '../../../src/endpoints/no-local.ts';
import { serviceOfKey, servicePortKey } from '../../../src/endpoints/types.ts';
import type { Service, SliceEndpoint } from '../../../src/watch/objects.ts';
import { service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';

const node = { name: 'test-node', zone: '' };

function modelOf(item: Service, endpoints: readonly SliceEndpoint[]) {
  return updateModel(emptyModel('IPv4', node), snapshot([item], [slice({ endpoints })]), ['default/web'], node);
}

const balanced = service({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 30901 });
const local = (ip: string, fields: Partial<SliceEndpoint> = {}) =>
  sliceEndpoint(ip, { nodeName: node.name, ...fields });

describe('healthCheckOf', () => {
  it('counts ready endpoints of this node, of which none is terminating', () => {
    const ready = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(ip => local(ip));
    const endpoints = [...ready, local('10.0.0.4', { ready: false }), sliceEndpoint('10.0.0.5', { nodeName: 'other' })];
    expect(healthCheckOf(modelOf(balanced, endpoints), 'default/web')).toMatchObject({
      port: 30901,
      localEndpoints: 3,
    });
    const leaving = { ready: false, serving: true, terminating: true };
    const going = [local('10.0.0.1', { ...leaving, terminating: false }), local('10.0.0.2', leaving)];
    expect(healthCheckOf(modelOf(balanced, going), 'default/web')).toMatchObject({ localEndpoints: 0 });
  });

  it.each([
    ['another type', { type: 'NodePort' }],
    ['policy Cluster', { externalTrafficPolicy: 'Cluster' }],
    ['no port', { healthCheckNodePort: 0 }],
    ['another proxy', { serviceProxyName: 'other' }],
  ] as const)('%s has none', (_, fields) => {
    expect(healthCheckOf(modelOf({ ...balanced, ...fields }, [local('10.0.0.1')]), 'default/web')).toBeUndefined();
  });
});

test('a Service is named by the keys of its ports', () => {
  for (const port of ['', 'http']) {
    const key = servicePortKey({ namespace: 'a', name: 'b.c', port, protocol: 'SCTP' });
    expect(serviceOfKey(key)).toBe('a/b.c');
  }
  expect([...changedServices(modelOf(service(), []))]).toEqual(['default/web']);
});

const here = ['test-node', 'node1', 'node2'];
const elsewhere = ['node0', 'node1', 'node2'];

test.each([
  ['iTP Local, local present', 'Local', 'Cluster', here, 0, 0],
  ['eTP Local, local present', 'Cluster', 'Local', here, 0, 0],
  ['both, local present', 'Local', 'Local', here, 0, 0],
  ['iTP Local, none local', 'Local', 'Cluster', elsewhere, 1, 0],
  ['eTP Local, none local', 'Cluster', 'Local', elsewhere, 0, 1],
  ['both, none local', 'Local', 'Local', elsewhere, 1, 1],
  ['both, no endpoints at all', 'Local', 'Local', [], 0, 0],
] as const)('no local endpoints: %s', (_, internalTrafficPolicy, externalTrafficPolicy, nodes, internal, external) => {
  const item = service({
    type: 'NodePort',
    internalTrafficPolicy,
    externalTrafficPolicy,
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 }],
  });
  const endpoints = nodes.map((nodeName, i) => sliceEndpoint(`10.0.1.${i + 1}`, { nodeName }));
  expect(countNoLocal(modelOf(item, endpoints))).toEqual({ internal, external });
});
