import { describe, expect, test } from 'vitest';
import { Feed } from '../../../../src/dns/host/feed.ts';
import { Store } from '../../../../src/watch/store.ts';
import { service, slice } from '../../../fakes/objects.ts';

const ALL = { namespaces: [], endpointPodNames: false };
const NOTHING = { services: new Set<string>(), namespaces: new Set<string>(), pods: new Set<string>() };

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
    const changes = [...new Feed(ALL).everything(storeWith().snapshot)];
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

  test('of other namespaces than those that are wanted it tells nothing', () => {
    const changes = [...new Feed({ ...ALL, namespaces: ['other'] }).everything(storeWith().snapshot)];
    expect(changes.map(({ kind }) => kind).toSorted()).toEqual(['namespace', 'service']);
  });

  test('what is gone is told', () => {
    const store = storeWith();
    const feed = new Feed(ALL);
    expect([...feed.everything(store.snapshot)].length).toBeGreaterThan(0);
    store.remove('Service', 'default/web');
    store.remove('Namespace', 'other');
    store.remove('Pod', 'default/web-1');
    const dirty = {
      services: new Set(['default/web']),
      namespaces: new Set(['other']),
      pods: new Set(['default/web-1']),
    };
    expect([...feed.changes(store.snapshot, dirty)]).toEqual([
      { kind: 'namespace', name: 'other', exists: false },
      { kind: 'service', namespace: 'default', name: 'web', service: undefined },
      { kind: 'pods', namespace: 'default', added: [], removed: ['10.244.1.2'] },
    ]);
  });

  test('an address that several pods have goes with the last of them', () => {
    const store = new Store();
    const feed = new Feed(ALL);
    for (const name of ['a', 'b']) store.upsert('Pod', { namespace: 'default', name, ips: ['192.0.2.1'] });
    expect([...feed.everything(store.snapshot)]).toHaveLength(2);
    const removed = (name: string) => {
      store.remove('Pod', `default/${name}`);
      return [...feed.changes(store.snapshot, { ...NOTHING, pods: new Set([`default/${name}`]) })];
    };
    expect([removed('a'), removed('b')].flat()).toMatchObject([{ removed: [] }, { removed: ['192.0.2.1'] }]);
  });

  test('slices without a Service are told as none', () => {
    const store = new Store();
    store.upsert('EndpointSlice', slice());
    const dirty = { ...NOTHING, services: new Set(['default/web']) };
    expect([...new Feed(ALL).changes(store.snapshot, dirty)]).toEqual([
      { kind: 'service', namespace: 'default', name: 'web', service: undefined },
    ]);
  });
});
