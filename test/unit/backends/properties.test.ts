import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diff, isEmpty, patch } from '../../../src/backends/diff.ts';
import { createIptablesBackend } from '../../../src/backends/iptables/backend.ts';
import { parse } from '../../../src/backends/iptables/parse.ts';
import { SyncLoop } from '../../../src/backends/loop.ts';
import { planAll } from '../../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import { ModelFeed } from '../../../src/model-feed.ts';
import type { EndpointSlice, IPFamily, Service } from '../../../src/watch/objects.ts';
import { Store } from '../../../src/watch/store.ts';
import { FakeIptables } from '../../fakes/iptables.ts';
import { IPTABLES_OPTIONS, IPTABLES_OPTIONS_V6, service, slice, sliceEndpoint } from '../../fakes/objects.ts';

const names = fc.constantFrom('a', 'b', 'c', 'd');
const policy = fc.constantFrom('Cluster' as const, 'Local' as const);
/** What differs between the families: how addresses are written. */
const FAMILIES = {
  IPv4: { options: IPTABLES_OPTIONS, services: '10.96.0.', external: '192.0.2.', pods: '10.244.1.' },
  IPv6: { options: IPTABLES_OPTIONS_V6, services: 'fd00:10:96::', external: '2001:db8::', pods: 'fd00:10:244:1::' },
} as const;
const address = (net: string) => fc.integer({ min: 1, max: 6 }).map(host => `${net}${host}`);

/** Few names, addresses and ports, so that Services meet, move and contest each other's addresses. */
const servicesOf = (family: IPFamily): fc.Arbitrary<Service> =>
  fc
    .record({
      name: names,
      clusterIPs: fc.tuple(address(FAMILIES[family].services)),
      externalIPs: fc.array(address(FAMILIES[family].external), { maxLength: 2 }),
      affinityTimeoutSeconds: fc.constantFrom(0, 0, 90),
      ports: fc.uniqueArray(
        fc.record({
          name: fc.constantFrom('http', 'dns'),
          protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
          port: fc.constantFrom(53, 80),
          nodePort: fc.constantFrom(0, 0, 30080, 30081),
        }),
        { selector: port => `${port.name}/${port.protocol}`, minLength: 1, maxLength: 3 },
      ),
      internalTrafficPolicy: policy,
      externalTrafficPolicy: policy,
      creationTimestamp: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
    })
    .map(service);

const slicesOf = (family: IPFamily): fc.Arbitrary<EndpointSlice> =>
  fc
    .record({
      family: fc.constant(family),
      name: fc.constantFrom('s1', 's2', 's3'),
      serviceName: names,
      ports: fc.constantFrom(
        [{ name: 'http', protocol: 'TCP' as const, port: 8080 }],
        [{ name: 'dns', protocol: 'UDP' as const, port: 5353 }],
      ),
      endpoints: fc.array(
        fc
          .tuple(
            address(FAMILIES[family].pods),
            fc.record({
              ready: fc.boolean(),
              serving: fc.boolean(),
              terminating: fc.boolean(),
              nodeName: fc.constantFrom('node-a', 'node-b'),
              zoneHints: fc.constantFrom([], ['zone-a'], ['zone-b']),
            }),
          )
          .map(([ip, fields]) => sliceEndpoint(ip, fields)),
        { maxLength: 4 },
      ),
    })
    .map(slice);

type Event =
  | { upsert: Service }
  | { slice: EndpointSlice }
  | { remove: string }
  | { removeSlice: string }
  | { zone: string };
const eventsOf = (family: IPFamily): fc.Arbitrary<Event> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ upsert: servicesOf(family) }) },
    { weight: 4, arbitrary: fc.record({ slice: slicesOf(family) }) },
    { weight: 1, arbitrary: fc.record({ remove: names }) },
    { weight: 1, arbitrary: fc.record({ removeSlice: fc.constantFrom('s1', 's2', 's3') }) },
    { weight: 1, arbitrary: fc.record({ zone: fc.constantFrom('', 'zone-a', 'zone-b') }) },
  );

function send(store: Store, event: Event): void {
  if ('upsert' in event) store.upsert('Service', event.upsert);
  else if ('slice' in event) store.upsert('EndpointSlice', event.slice);
  else if ('remove' in event) store.remove('Service', `default/${event.remove}`);
  else if ('removeSlice' in event) store.remove('EndpointSlice', `default/${event.removeSlice}`);
  else {
    const labels = { 'topology.kubernetes.io/zone': event.zone };
    store.upsert('Node', {
      name: 'node-a',
      uid: '',
      labels,
      podCIDRs: [],
      addresses: [],
      taints: [],
      isDeleting: false,
    });
  }
}

const backendOf = (kernel: FakeIptables, family: IPFamily) =>
  createIptablesBackend(() => FAMILIES[family].options, kernel.io);

describe.each(['IPv4', 'IPv6'] as const)('incremental equals cold start in %s', family => {
  it('whatever happened before, in batches of any size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(eventsOf(family), { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 }),
        async bursts => {
          const kernel = new FakeIptables();
          const store = new Store();
          const feed = new ModelFeed({ store, family, nodeName: 'node-a', onContest: () => undefined });
          store.onDirty(dirty => feed.note(dirty));
          let finished: () => void = () => undefined;
          let error: unknown;
          await using loop = new SyncLoop({
            backend: backendOf(kernel, family),
            pull: () => feed.pull(),
            coalesceMs: () => 0,
            timing: () => ({ minSyncPeriodMs: 0, maxRetryMs: 1000, driftCheckMs: 60_000 }),
            now: () => performance.now(),
            onSync: ({ failures }) => {
              error ??= failures[0]?.error;
              finished();
            },
            onError: caught => {
              error = caught;
              finished();
            },
          });
          for (const burst of bursts) {
            for (const event of burst) send(store, event);
            await new Promise<void>(resolve => {
              finished = resolve;
              loop.markDirty();
            });
          }
          expect(error).toBeUndefined();
          const facts = feed.model.node;
          const cold = updateModel(emptyModel(family, facts), store.snapshot, store.snapshot.services.keys(), facts);
          const wanted = planAll(backendOf(kernel, family), cold);
          const changes = diff(await backendOf(kernel, family).read(), wanted);
          expect([...changes.created.keys(), ...changes.updated.keys(), ...changes.deleted.keys()]).toEqual([]);
          expect(Object.fromEntries(loop.applied ?? [])).toEqual(Object.fromEntries(wanted));
          expect(kernel.save('nat')).toMatch(/-A KUBE-SERVICES .*-j KUBE-NODEPORTS\n(?!-A KUBE-SERVICES )/);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('diff', () => {
  const plans = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.integer({ min: 0, max: 2 }), {
    noNullPrototype: true,
  });

  it('followed by patch reaches the other plan, and is empty only between equal plans', () => {
    fc.assert(
      fc.property(plans, plans, (a, b) => {
        const [before, after] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
        const changes = diff(before, after);
        expect(isEmpty(changes)).toBe(isDeepStrictEqual(a, b));
        expect(Object.fromEntries(patch(before, changes))).toEqual(b);
        expect(isEmpty(diff(before, after))).toBe(true);
      }),
    );
  });
});

describe.each(['IPv4', 'IPv6'] as const)('parse in %s', family => {
  it('reads back what was rendered, rule for rule', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(servicesOf(family), { maxLength: 4 }),
        fc.array(slicesOf(family), { maxLength: 4 }),
        async (list, more) => {
          const kernel = new FakeIptables();
          const store = new Store();
          for (const item of list) store.upsert('Service', item);
          for (const item of more) store.upsert('EndpointSlice', item);
          const facts = { name: 'node-a', zone: '' };
          const model = updateModel(emptyModel(family, facts), store.snapshot, store.snapshot.services.keys(), facts);
          const backend = backendOf(kernel, family);
          const wanted = planAll(backend, model);
          const { failures } = await backend.apply(diff(await backend.read(), wanted), await backend.read());
          expect(failures).toEqual([]);
          const read = new Map([...parse(kernel.save('filter'), 'filter'), ...parse(kernel.save('nat'), 'nat')]);
          expect(Object.fromEntries(read)).toEqual(Object.fromEntries(wanted));
        },
      ),
    );
  });
});
