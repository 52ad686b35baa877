import { expect, test } from 'vitest';
import { changesBetween } from '../../../src/watch/changes.ts';
import type { EndpointSlice, Service } from '../../../src/watch/objects.ts';
import { Store } from '../../../src/watch/store.ts';
import { service, slice } from '../../fakes/objects.ts';

/** What is counted for one batch of changes to a store with one Service and its slice. */
async function count(change: (store: Store) => void) {
  const store = new Store();
  const keep = (one: Service, its: EndpointSlice) => {
    store.upsert('Service', one);
    store.upsert('EndpointSlice', its);
  };
  keep(service(), slice());
  await Promise.resolve();
  const before = store.snapshot;
  let counted = { services: 0, endpointSlices: 0 };
  store.onDirty(dirty => {
    const { services, slices } = changesBetween(before, store.snapshot, dirty);
    counted = { services: services.length, endpointSlices: slices.length };
  });
  change(store);
  await Promise.resolve();
  return counted;
}

test.for([
  ['a Service that changes', (store: Store) => store.upsert('Service', service({ isHeadless: true })), 1, 0],
  ['a Service that goes', (store: Store) => store.remove('Service', 'default/web'), 1, 0],
  ['a slice that changes', (store: Store) => store.upsert('EndpointSlice', slice({ endpoints: [] })), 0, 1],
  ['a slice more', (store: Store) => store.upsert('EndpointSlice', slice({ name: 'web-2' })), 0, 1],
  ['a slice that goes', (store: Store) => store.remove('EndpointSlice', 'default/web-1'), 0, 1],
  ['what is as it was', (store: Store) => store.upsert('Service', service()), 0, 0],
  ['a slice that moves', (store: Store) => store.upsert('EndpointSlice', slice({ serviceName: 'other' })), 0, 2],
] as const)('%s', async ([, change, services, endpointSlices]) => {
  expect(await count(change)).toEqual({ services, endpointSlices });
});
