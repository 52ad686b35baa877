import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { EndpointSlice, Node, Problem, Service } from '../../../src/watch/objects.ts';
import type { Dirty } from '../../../src/watch/snapshot.ts';
import { Store } from '../../../src/watch/store.ts';
import { trimEndpointSlice, trimService } from '../../../src/watch/trim.ts';
import { trimNode } from '../../../src/watch/trim-cluster.ts';

function present<T>(trimmed: { object?: T }): T {
  if (trimmed.object === undefined) throw new Error('nothing left after trimming');
  return trimmed.object;
}
const service = (name: string, port = 80): Service =>
  present(trimService({ metadata: { namespace: 'default', name }, spec: { ports: [{ port }] } }));
const slice = (name: string, serviceName: string, addresses: readonly string[] = []): EndpointSlice =>
  present(
    trimEndpointSlice({
      metadata: { namespace: 'default', name, labels: { 'kubernetes.io/service-name': serviceName } },
      addressType: 'IPv4',
      endpoints: addresses.map(address => ({ addresses: [address] })),
    }),
  );
const node = (name: string, labels: Record<string, string> = {}): Node =>
  present(trimNode({ metadata: { name, labels } }));
const problem = (object: string, message = 'bad'): Problem => ({ object, field: 'spec', message });

/** A store and what its listeners heard; `settle` waits for the batch. */
function observed() {
  const store = new Store();
  const dirty: { services: string[]; nodes: string[] }[] = [];
  store.onDirty(batch => dirty.push({ services: [...batch.services].toSorted(), nodes: [...batch.nodes].toSorted() }));
  const settle = async () => {
    await Promise.resolve();
    return dirty.splice(0);
  };
  return { store, settle };
}
/** Plain content of a store's snapshot. */
function contents(store: Store) {
  const { services, slices, nodes } = store.snapshot;
  const slicesByService = [...slices].map(([key, list]) => [key, [...list.keys()].toSorted()] as const);
  return {
    services: [...services.keys()].toSorted(),
    slices: Object.fromEntries(slicesByService),
    nodes: [...nodes.keys()].toSorted(),
  };
}

describe('changes', () => {
  it('are in the snapshot at once and reach listeners as one batch', async () => {
    const { store, settle } = observed();
    store.upsert('Service', service('web'));
    store.upsert('EndpointSlice', slice('web-1', 'web', ['10.0.0.1']));
    store.upsert('EndpointSlice', slice('db-1', 'db', ['10.0.0.2']));
    store.upsert('Node', node('n1'));
    expect(contents(store)).toEqual({
      services: ['default/web'],
      slices: { 'default/web': ['web-1'], 'default/db': ['db-1'] },
      nodes: ['n1'],
    });
    expect(await settle()).toEqual([{ services: ['default/db', 'default/web'], nodes: ['n1'] }]);
    expect(await settle()).toEqual([]);
  });

  it('say whether an endpoint that took connections takes none any more', async () => {
    const store = new Store();
    const heard: boolean[] = [];
    store.onDirty(({ hasRemovals }) => heard.push(hasRemovals));
    const change = async (act: () => void) => {
      act();
      await Promise.resolve();
      return heard.splice(0);
    };
    const web = slice('web-1', 'web', ['10.0.0.1', '10.0.0.2']);
    const one = (fields: object) => ({ ...web, endpoints: [{ ...web.endpoints[0]!, ...fields }] });
    const draining = one({ ready: false, terminating: true });
    expect(await change(() => store.upsert('EndpointSlice', web))).toEqual([false]);
    expect(await change(() => store.upsert('EndpointSlice', one({})))).toEqual([true]);
    expect(await change(() => store.upsert('EndpointSlice', draining))).toEqual([false]);
    expect(
      await change(() =>
        store.upsert('EndpointSlice', { ...draining, ports: [{ name: 'x', protocol: 'TCP', port: 9 }] }),
      ),
    ).toEqual([false]);
    expect(await change(() => store.upsert('EndpointSlice', one({ ready: false })))).toEqual([true]);
    expect(await change(() => store.upsert('EndpointSlice', web))).toEqual([false]);
    expect(await change(() => store.remove('EndpointSlice', 'default/web-1'))).toEqual([true]);
  });

  it('of nothing mark nothing', async () => {
    const { store, settle } = observed();
    store.upsert('Service', service('web'));
    store.upsert('EndpointSlice', slice('web-1', 'web', ['10.0.0.1']));
    await settle();
    const before = store.snapshot;
    store.upsert('Service', service('web'));
    store.upsert('EndpointSlice', slice('web-1', 'web', ['10.0.0.1']));
    store.remove('Service', 'default/other');
    store.remove('EndpointSlice', 'default/other');
    store.remove('Node', 'other');
    expect(store.snapshot).toBe(before);
    expect(await settle()).toEqual([]);
  });

  it('leave earlier snapshots alone and share what did not change', async () => {
    const { store } = observed();
    store.upsert('EndpointSlice', slice('web-1', 'web', ['10.0.0.1']));
    store.upsert('EndpointSlice', slice('db-1', 'db', ['10.0.0.2']));
    const before = store.snapshot;
    store.upsert('EndpointSlice', slice('web-1', 'web', ['10.0.0.9']));
    expect(before.slices.get('default/web')?.get('web-1')?.endpoints[0]?.addresses).toEqual(['10.0.0.1']);
    expect(store.snapshot.slices.get('default/db')).toBe(before.slices.get('default/db'));
    expect(store.snapshot.services).toBe(before.services);
  });

  it('of the service-name label move a slice and mark both Services', async () => {
    const { store, settle } = observed();
    store.upsert('EndpointSlice', slice('s', 'web', ['10.0.0.1']));
    await settle();
    store.upsert('EndpointSlice', slice('s', 'db', ['10.0.0.1']));
    expect(contents(store).slices).toEqual({ 'default/db': ['s'] });
    expect(await settle()).toEqual([{ services: ['default/db', 'default/web'], nodes: [] }]);
    store.remove('EndpointSlice', 'default/s');
    expect(contents(store).slices).toEqual({});
    expect(await settle()).toEqual([{ services: ['default/db'], nodes: [] }]);
  });

  it('reach no listener that was taken away', async () => {
    const store = new Store();
    const listener = vi.fn();
    store.onDirty(listener)();
    store.upsert('Node', node('n1'));
    await Promise.resolve();
    expect(listener).not.toHaveBeenCalled();
  });
});

describe('replace', () => {
  it('finds what a watch missed and marks only that', async () => {
    const { store, settle } = observed();
    store.replace(
      'Service',
      ['kept', 'changed', 'deleted'].map(name => service(name)),
    );
    expect(await settle()).toHaveLength(1);
    const kept = store.snapshot.services.get('default/kept');
    store.replace('Service', [service('kept'), service('changed', 81), service('new')]);
    expect(await settle()).toEqual([{ services: ['default/changed', 'default/deleted', 'default/new'], nodes: [] }]);
    expect(contents(store).services).toEqual(['default/changed', 'default/kept', 'default/new']);
    expect(store.snapshot.services.get('default/kept')).toBe(kept);
  });

  it('reaches the same state as single changes, in any order, and a second time marks nothing', async () => {
    const slices = fc.uniqueArray(
      fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), owner: fc.constantFrom('web', 'db'), ip: fc.nat(3) }),
      { selector: item => item.name },
    );
    await fc.assert(
      fc.asyncProperty(slices, slices, async (first, second) => {
        const make = (items: typeof first) =>
          items.map(item => slice(item.name, item.owner, [`10.0.0.${item.ip + 1}`]));
        const { store, settle } = observed();
        store.replace('EndpointSlice', make(first));
        await settle();
        store.replace('EndpointSlice', make(second));
        const single = new Store();
        for (const item of make(second)) single.upsert('EndpointSlice', item);
        expect(store.snapshot.slices.toJS()).toEqual(single.snapshot.slices.toJS());
        await settle();
        store.replace('EndpointSlice', make(second).toReversed());
        expect(await settle()).toEqual([]);
      }),
    );
  });
});

describe('synced', () => {
  it('waits for every announced kind', async () => {
    const store = new Store();
    store.announce(['Service', 'EndpointSlice']);
    let isResolved = false;
    const waiting = store.synced.then(() => {
      isResolved = true;
    });
    store.markSynced('Service');
    store.markSynced('Service');
    store.markSynced('Node');
    await Promise.resolve();
    expect([store.isSynced, isResolved]).toEqual([false, false]);
    store.markSynced('EndpointSlice');
    await waiting;
    expect([store.isSynced, isResolved]).toEqual([true, true]);
  });
});

describe('problems', () => {
  const heard = (store: Store) => {
    const calls: [string, number][] = [];
    store.onProblem((object, problems) => calls.push([object, problems.length]));
    return () => calls.splice(0);
  };

  it('are heard once per change, not once per list', () => {
    const store = new Store();
    const calls = heard(store);
    const problems = [
      problem('Service default/a'),
      problem('Service default/a', 'worse'),
      problem('Service default/b'),
    ];
    store.replace('Service', [], { problems });
    expect(calls()).toEqual([
      ['Service default/a', 2],
      ['Service default/b', 1],
    ]);
    store.replace('Service', [], { problems: [problem('Service default/a'), problem('Service default/a', 'worse')] });
    expect(calls()).toEqual([['Service default/b', 0]]);
    expect(store.problems()).toHaveLength(2);
  });

  it('of one kind survive a list of another', () => {
    const store = new Store();
    store.replace('Node', [], { problems: [problem('Node n1')] });
    store.replace('Service', []);
    expect(store.problems()).toEqual([problem('Node n1')]);
  });

  it('go with their object', () => {
    const store = new Store();
    const calls = heard(store);
    const broken = { metadata: { namespace: 'default', name: 'web' }, spec: { ports: [{ port: 0 }, { port: 80 }] } };
    store.accept('Service', trimService(broken));
    expect(store.snapshot.services.get('default/web')?.ports).toHaveLength(1);
    store.accept('Service', trimService(broken));
    store.remove('Service', 'default/web');
    expect(calls()).toEqual([
      ['Service default/web', 1],
      ['Service default/web', 0],
    ]);
    expect(store.problems()).toEqual([]);
  });

  it('stay for an object that has nothing left to serve, which is removed', () => {
    const store = new Store();
    store.upsert('EndpointSlice', slice('s', 'web', ['10.0.0.1']));
    const calls = heard(store);
    const labels = { 'kubernetes.io/service-name': 'web' };
    const raw = { metadata: { namespace: 'default', name: 's', labels }, addressType: 'FQDN' };
    store.accept('EndpointSlice', trimEndpointSlice(raw));
    store.accept('EndpointSlice', trimEndpointSlice(raw));
    expect(calls()).toEqual([['EndpointSlice default/s', 1]]);
    expect(contents(store).slices).toEqual({});
    expect(store.problems()).toMatchObject([{ object: 'EndpointSlice default/s', field: 'addressType' }]);
  });

  it('of an object without a name are kept until the next list', () => {
    const store = new Store();
    store.accept('Service', trimService({ metadata: {} }));
    expect(store.problems()).toHaveLength(1);
    store.replace('Service', []);
    expect(store.problems()).toEqual([]);
  });
});

describe('ServiceCIDRs', () => {
  const range = (name: string, ...cidrs: string[]) => ({ name, cidrs });

  it('are one list of all ranges, each once, sorted, whatever object has them', async () => {
    const store = new Store();
    store.replace('ServiceCIDR', [
      range('kubernetes', 'fd00:96::/112', '10.96.0.0/16'),
      range('more', '10.112.0.0/16'),
    ]);
    expect(store.snapshot.serviceCIDRs).toEqual(['10.112.0.0/16', '10.96.0.0/16', 'fd00:96::/112']);
    store.upsert('ServiceCIDR', range('again', '10.112.0.0/16'));
    store.remove('ServiceCIDR', 'more');
    expect(store.snapshot.serviceCIDRs).toEqual(['10.112.0.0/16', '10.96.0.0/16', 'fd00:96::/112']);
    store.replace('ServiceCIDR', []);
    expect(store.snapshot.serviceCIDRs).toEqual([]);
  });

  it('mark dirty only when the list changes, with all that changed in the same stretch', async () => {
    const store = new Store();
    const heard: Dirty[] = [];
    store.onDirty(dirty => heard.push(dirty));
    store.upsert('Service', service('web'));
    store.upsert('ServiceCIDR', range('kubernetes', '10.96.0.0/16'));
    await Promise.resolve();
    store.upsert('ServiceCIDR', range('copy', '10.96.0.0/16'));
    await Promise.resolve();
    store.upsert('Service', service('web', 81));
    await Promise.resolve();
    expect(heard.map(({ services, hasServiceCIDRs }) => [services.size, hasServiceCIDRs])).toEqual([
      [1, true],
      [1, false],
    ]);
  });
});

describe('a list', () => {
  it('of a kind is complete when its source says so, whether or not all wait for it', async () => {
    const store = new Store();
    store.announce(['Service']);
    let isListed = false;
    const listed = store.listed('Namespace').then(() => {
      isListed = true;
    });
    store.replace('Namespace', []);
    await Promise.resolve();
    expect([store.hasListed('Namespace'), isListed, store.isSynced]).toEqual([false, false, false]);
    store.markSynced('Namespace');
    await listed;
    expect([store.hasListed('Namespace'), store.hasListed('Pod'), store.isSynced]).toEqual([true, false, false]);
    store.markSynced('Service');
    await Promise.all([store.synced, store.listed('Namespace')]); // whoever asks later is told too
    expect(store.isSynced).toBe(true);
  });
});
