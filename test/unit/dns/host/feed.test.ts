import { describe, expect, test } from 'vitest';
import { changesOf, everything } from '../../../../src/dns/host/feed.ts';
import { Store } from '../../../../src/watch/store.ts';
import { service, slice } from '../../../fakes/objects.ts';

const ALL = { namespaces: [], endpointPodNames: false };
const none = { services: new Set<string>(), namespaces: new Set<string>(), pods: new Set<string>() };

function storeWith(): Store {
  const store = new Store();
  store.upsert('Namespace', { name: 'default' });
  store.upsert('Namespace', { name: 'other' });
  store.upsert('Service', service());
  store.upsert('Service', service({ namespace: 'other', name: 'api' }));
  store.upsert('EndpointSlice', slice());
  store.upsert('Pod', { namespace: 'default', name: 'web-1', ips: ['10.244.1.2'] });
  return store;
}

describe('the feed', () => {
  test('tells all that there is', () => {
    const changes = [...everything(new Store().snapshot, storeWith().snapshot, ALL)];
    const names = changes.map(
      change => `${change.kind} ${change.kind === 'namespace' ? change.name : change.namespace}`,
    );
    expect(names.toSorted()).toEqual([
      'namespace default',
      'namespace other',
      'pods default',
      'service default',
      'service other',
    ]);
  });

  test('names of other namespaces than those that are wanted are not told', () => {
    const changes = [...everything(new Store().snapshot, storeWith().snapshot, { ...ALL, namespaces: ['other'] })];
    expect(changes.map(({ kind }) => kind).toSorted()).toEqual(['namespace', 'service']);
  });

  test('what is gone is told', () => {
    const store = storeWith();
    const before = store.snapshot;
    store.remove('Service', 'default/web');
    store.remove('Namespace', 'other');
    store.remove('Pod', 'default/web-1');
    const dirty = {
      services: new Set(['default/web']),
      namespaces: new Set(['other']),
      pods: new Set(['default/web-1']),
    };
    expect([...changesOf(before, store.snapshot, dirty, ALL)]).toEqual([
      { kind: 'namespace', name: 'other', exists: false },
      { kind: 'service', namespace: 'default', name: 'web', service: undefined },
      { kind: 'pods', namespace: 'default', added: [], removed: ['10.244.1.2'] },
    ]);
  });

  test('slices without a Service are told as none', () => {
    const store = new Store();
    store.upsert('EndpointSlice', slice());
    const dirty = { ...none, services: new Set(['default/web']) };
    expect([...changesOf(new Store().snapshot, store.snapshot, dirty, ALL)]).toEqual([
      { kind: 'service', namespace: 'default', name: 'web', service: undefined },
    ]);
  });
});
