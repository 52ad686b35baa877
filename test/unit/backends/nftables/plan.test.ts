import { describe, expect, it } from 'vitest';
import { createNftablesBackend } from '../../../../src/backends/nftables/backend.ts';
import { elementsOf } from '../../../../src/backends/nftables/elements.ts';
import type { NftObject } from '../../../../src/backends/nftables/objects.ts';
import { planRoute } from '../../../../src/backends/nftables/plan.ts';
import type { Endpoint, ServicePort, ServiceRoute } from '../../../../src/endpoints/types.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';
import { endpoint, NFTABLES_OPTIONS, servicePort } from '../../../fakes/objects.ts';

const TEN = Array.from({ length: 10 }, (_, i) => endpoint(`10.244.0.${i + 1}`, { isLocal: i < 2, mayBeLocal: i < 2 }));

function planned(port: Partial<ServicePort>, { endpoints = TEN }: { readonly endpoints?: readonly Endpoint[] } = {}) {
  const local = endpoints.slice(0, 2);
  const route: ServiceRoute = {
    servicePort: servicePort(port),
    endpoints,
    clusterEndpoints: endpoints,
    localEndpoints: port.isExternalLocal === true || port.isInternalLocal === true ? local : [],
    hasAnyEndpoints: endpoints.length > 0,
  };
  return planRoute(route, NFTABLES_OPTIONS);
}

/** Elements by set, and how many chains belong to nobody else. */
function budget(objects: ReadonlyMap<string, NftObject>) {
  const counts: Record<string, number> = {};
  for (const object of objects.values()) {
    for (const { set } of elementsOf(object, 'IPv4')) counts[set] = (counts[set] ?? 0) + 1;
  }
  return counts;
}

const LB = { nodePort: 30_080, loadBalancerVIPs: ['203.0.113.7'] };

describe('what a Service costs, as README.md says', () => {
  it.each([
    ['a cluster IP', {}, { services: 1, endpoints: 10, hairpins: 2, 'cluster-ips': 1 }],
    ['a NodePort', { nodePort: 30_080 }, { services: 2, endpoints: 20, hairpins: 2, 'cluster-ips': 1, external: 1 }],
    ['a load balancer', LB, { services: 3, endpoints: 30, hairpins: 2, 'cluster-ips': 1, external: 2 }],
    [
      'a load balancer with policy Local',
      { ...LB, isExternalLocal: true },
      { services: 3, endpoints: 34, inside: 2, hairpins: 22, 'cluster-ips': 1, external: 2 },
    ],
    [
      'a load balancer with source ranges',
      { ...LB, loadBalancerSourceRanges: ['192.0.2.0/24', '192.0.2.128/25', '198.51.100.0/24'] },
      { services: 3, endpoints: 30, hairpins: 2, 'cluster-ips': 1, external: 2, allowed: 2, refused: 1 },
    ],
    [
      'a source hash',
      { balancing: 'source-hash' as const },
      { services: 1, endpoints: 251, hairpins: 2, 'cluster-ips': 1 },
    ],
    [
      'one endpoint of ten with weight 5',
      { endpointWeights: [{ cidr: '10.244.0.1/32', weight: 5 }] },
      { services: 1, endpoints: 14, hairpins: 2, 'cluster-ips': 1 },
    ],
  ])('%s with ten endpoints, two of them here', (_, port, wanted) => {
    expect(budget(planned(port))).toEqual(wanted);
  });

  it('without endpoints: the refusals', () => {
    expect(budget(planned(LB, { endpoints: [] }))).toEqual({ refused: 3, 'cluster-ips': 1 });
  });

  it('shares its chains with all that have as many endpoints, but for session affinity', () => {
    const names = (port: Partial<ServicePort>) =>
      [...planned(port)].filter(([, { kind }]) => kind === 'chain' || kind === 'set').map(([key]) => key);
    expect(names({ ...LB, isExternalLocal: true, loadBalancerSourceRanges: ['192.0.2.0/24'] })).toEqual([
      'chain/lb-10',
      'chain/lb-2',
      'chain/lb-10-inside',
      'chain/local-lb-2',
      'chain/guard-local-lb-2',
      'chain/node-lb-2',
      'chain/node-lb-10-inside',
      'chain/local-node-lb-2',
    ]);
    const own = names({ affinityTimeoutSeconds: 60 });
    expect(own.map(key => key.replace(/[0-9a-f]{8}/, 'HASH'))).toEqual([
      'chain/learn',
      'chain/remember-input',
      'chain/remember-forward',
      'chain/remember-output',
      'set/affinity-HASH-default/web/tcp/http',
      'set/members-HASH-default/web/tcp/http',
      'chain/learn-HASH-default/web/tcp/http',
      'chain/lb-10',
      'chain/affinity-HASH-default/web/tcp/http-lb-10',
    ]);
  });
});

describe('session affinity', () => {
  const affinity = { affinityTimeoutSeconds: 60, isExternalLocal: true, nodePort: 30_080 };
  const maps = (port: Partial<ServicePort>, endpoints = TEN) =>
    [...planned(port, { endpoints }).values()].flatMap(object =>
      object.kind === 'members' ? [[object.map.replace(/[0-9a-f]{8}.*/, 'ID'), object.endpoints.length]] : [],
    );

  it('keeps clients that policy Local keeps to local endpoints in a map of their own, while there are others', () => {
    expect(maps(affinity)).toEqual([
      ['affinity-ID', 10],
      ['affinity-local-ID', 2],
    ]);
    expect(maps({ affinityTimeoutSeconds: 60 })).toEqual([['affinity-ID', 10]]);
    expect(maps(affinity, TEN.slice(0, 2))).toEqual([['affinity-ID', 2]]);
    const asked = [...planned(affinity).values()].flatMap(object =>
      object.kind === 'chain' && object.name.startsWith('affinity-') ? [object] : [],
    );
    for (const { name, rules } of asked) {
      const [lookup] = rules[0]!.expressions.filter(expression => expression.name === 'lookup');
      expect(name.startsWith(`${lookup?.set}-`), name).toBe(true);
      expect(name.startsWith('affinity-local-'), name).toBe(name.endsWith('lb-2'));
    }
  });
});

describe('an address that is both', () => {
  it('an external IP and a load balancer address keeps its source ranges', () => {
    const both = { externalIPs: ['203.0.113.7'], loadBalancerVIPs: ['203.0.113.7'] };
    const objects = planned({ ...both, loadBalancerSourceRanges: ['192.0.2.0/24'] });
    expect(objects.get('frontend/203.0.113.7 TCP 80')).toMatchObject({ allowed: ['192.0.2.0/24'] });
  });
});

describe('names', () => {
  it('of one port’s objects are never taken for chains that Services plan together, whatever they are', () => {
    const { isShared } = createNftablesBackend(() => NFTABLES_OPTIONS, { family: 'IPv4', kernel: new FakeNfTables() });
    const name = { namespace: 'a-chain', name: 'lb-3chain', port: 'lb-2', protocol: 'TCP' } as const;
    const objects = [...planned({ name, affinityTimeoutSeconds: 60 })];
    const shared = objects.filter(([key]) => isShared?.(key)).map(([key]) => key);
    expect(shared).toEqual(
      [...['learn', 'remember-input', 'remember-forward', 'remember-output'], 'lb-10'].map(chain => `chain/${chain}`),
    );
  });

  const long = { namespace: 'n'.repeat(63), name: 's'.repeat(63), port: 'p'.repeat(15), protocol: 'TCP' } as const;

  it('are cut where they are too long, and stay different', () => {
    const keys = (name: ServicePort['name']) => [...planned({ name, affinityTimeoutSeconds: 60 }).keys()];
    const [one, other] = [keys(long), keys({ ...long, port: `${'p'.repeat(14)}q` })];
    for (const key of one) expect(key.replace(/^[a-z]+\//, '').length).toBeLessThan(256);
    const isOwn = (key: string) => key.includes('affinity-');
    expect(one.filter(isOwn)).not.toEqual(other.filter(isOwn));
  });

  it('in comments end in an ellipsis', () => {
    const objects = [...planned({ name: long }).values()];
    const comments = objects.flatMap(object => elementsOf(object, 'IPv4').flatMap(({ comment }) => comment ?? []));
    for (const comment of comments) expect(comment.length).toBeLessThan(128);
    expect(comments.some(comment => comment.endsWith('...'))).toBe(true);
  });
});
