import { expect, test } from 'vitest';
import { createKubernetesService } from '../../../src/lab/apiserver/kubernetes-service.ts';
import { StatusError } from '../../../src/lab/apiserver/status.ts';
import { Store } from '../../../src/lab/apiserver/store.ts';

const write = (action: () => unknown): string => {
  try {
    action();
    return '';
  } catch (error) {
    if (error instanceof StatusError) return error.message;
    throw error;
  }
};

test('a cluster has the ServiceCIDR kubernetes, with the ranges that it gives addresses out of', () => {
  const store = new Store({ serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'] });
  createKubernetesService(store, { address: '192.0.2.1', port: 6443 });
  expect(store.get('servicecidrs', '', 'kubernetes')).toMatchObject({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'ServiceCIDR',
    spec: { cidrs: ['10.96.0.0/16', 'fd00:10:96::/112'] },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  });
});

test.each([
  [[], 'at least one CIDR required'],
  [['10.96.0.0'], 'must be a valid CIDR value'],
  [['10.96.0.1/16'], 'must be a valid CIDR value'],
  [['FD00::/112'], 'must be a valid CIDR value'],
  [['10.96.0.0/16', '10.97.0.0/16'], 'no more than one IP for each IP family'],
  [['10.96.0.0/16', 'fd00::/112', 'fd01::/112'], 'may only hold up to 2 values'],
])('ranges %j are refused', (cidrs, why) => {
  const store = new Store();
  expect(write(() => store.create('servicecidrs', '', { metadata: { name: 'more' }, spec: { cidrs } }))).toContain(why);
});

test('ranges cannot be changed, only taken away', () => {
  const store = new Store();
  const { object } = store.create('servicecidrs', '', {
    metadata: { name: 'more' },
    spec: { cidrs: ['10.112.0.0/16', 'fd00::/112'] },
  });
  const other = { ...object, spec: { cidrs: ['10.113.0.0/16'] } };
  expect(write(() => store.update('servicecidrs', '', 'more', other))).toContain('field is immutable');
  const labelled = { ...object, metadata: { ...object.metadata, labels: { a: 'b' } } };
  expect(write(() => store.update('servicecidrs', '', 'more', labelled))).toBe('');
  store.delete('servicecidrs', '', 'more');
  expect(store.list('servicecidrs')).toEqual([]);
});
