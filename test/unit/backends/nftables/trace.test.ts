import { describe, expect, it } from 'vitest';
import { choiceRules } from '../../../../src/backends/nftables/choices.ts';
import { keyOf, type NftObject } from '../../../../src/backends/nftables/objects.ts';
import { layoutOf } from '../../../../src/backends/nftables/packet.ts';
import { planRoute } from '../../../../src/backends/nftables/plan.ts';
import { planShared } from '../../../../src/backends/nftables/shared-rules.ts';
import { type OpeningPacket, rulesetOf, trace } from '../../../../src/backends/nftables/trace.ts';
import type { ServicePort, ServiceRoute } from '../../../../src/endpoints/types.ts';
import { endpoint, NFTABLES_OPTIONS, servicePort } from '../../../fakes/objects.ts';

const NODE_IP = '192.0.2.11';
const VIP = '203.0.113.7';
const options = { ...NFTABLES_OPTIONS, nodeIP: NODE_IP };
const PODS = ['10.244.0.1', '10.244.0.2', '10.244.0.3'];

function planned(port: Partial<ServicePort>, ips: readonly string[] = PODS): Map<string, NftObject> {
  const endpoints = ips.map((ip, i) => endpoint(ip, { isLocal: i < 2, mayBeLocal: i < 2 }));
  const route: ServiceRoute = {
    servicePort: servicePort(port),
    endpoints,
    clusterEndpoints: endpoints,
    localEndpoints: endpoints.slice(0, 2),
    hasAnyEndpoints: endpoints.length > 0,
  };
  return new Map([...planShared(options), ...planRoute(route, options)]);
}

/** What may become of a packet, a word each: `DROP`, `10.244.0.1:8080`, `untouched`. */
function ends(plan: ReadonlyMap<string, NftObject>, fields: Partial<OpeningPacket> = {}): string[] {
  const packet: OpeningPacket = {
    ...{ source: '198.51.100.1', destination: '10.96.0.10', port: 80, protocol: 'TCP', inInterface: 'eth0' },
    ...fields,
  };
  const own = new Set([NODE_IP, ...(packet.inInterface === '' ? [packet.source] : [])]);
  const found = trace(rulesetOf(plan, 'IPv4'), packet, ip => own.has(ip)).map(
    ({ verdict, destination, port, isTranslated }) => {
      if (verdict !== 'delivered') return verdict;
      return isTranslated ? `${destination}:${port}` : 'untouched';
    },
  );
  return [...new Set(found)].toSorted();
}

const texts = (ips: readonly string[]) => ips.map(ip => `${ip}:8080`);

describe('source ranges', () => {
  const guarded = { nodePort: 30_080, loadBalancerVIPs: [VIP], loadBalancerSourceRanges: ['192.0.2.0/24'] };
  const plan = planned({ ...guarded, nodePortSourceRanges: ['198.18.0.0/15'] });

  it.each([
    ['192.0.2.200', texts(PODS)],
    ['198.18.0.1', ['DROP']],
    ['198.51.100.1', ['DROP']],
  ])('of a load balancer: %s gets to %j', (source, expected) => {
    expect(ends(plan, { source, destination: VIP })).toEqual(expected);
  });

  it.each([
    ['198.19.0.1', texts(PODS)],
    ['192.0.2.200', ['DROP']],
  ])('of a NodePort: %s gets to %j', (source, expected) => {
    expect(ends(plan, { source, destination: NODE_IP, port: 30_080 })).toEqual(expected);
  });

  it('let in what the node sends to an address that it has itself, where they have the node', () => {
    const fromItself = { source: VIP, destination: VIP, inInterface: '' };
    expect(ends(plan, fromItself)).toEqual(texts(PODS));
    const elsewhere = planned({ ...guarded, loadBalancerSourceRanges: ['198.18.0.0/15'] });
    expect(ends(elsewhere, fromItself)).toEqual(['DROP']);
  });

  it('stop nobody whom they let in to an endpoint that is the address itself, which conntrack calls no DNAT', () => {
    const hooks = ['nat-prerouting', 'nat-output'].map(name => plan.get(`chain/${name}`)!);
    const asTranslatedToItself = new Map(plan);
    for (const chain of hooks) asTranslatedToItself.set(keyOf(chain), { ...chain, rules: [] } as NftObject);
    const from = (source: string, to: Partial<OpeningPacket>) => ends(asTranslatedToItself, { source, ...to });
    expect(from('192.0.2.200', { destination: VIP })).toEqual(['untouched']);
    expect(from('198.18.0.1', { destination: VIP })).toEqual(['DROP']);
    expect(from('198.19.0.1', { destination: NODE_IP, port: 30_080 })).toEqual(['untouched']);
    expect(from('192.0.2.200', { destination: NODE_IP, port: 30_080 })).toEqual(['DROP']);
  });
});

describe('a packet that has drawn a slot which a commit takes away meanwhile', () => {
  /** The chain that was asked before, with the endpoints that there are now. */
  function shrunk(port: Partial<ServicePort>): Map<string, NftObject> {
    const plan = planned(port);
    for (const [key, after] of planned(port, PODS.slice(0, 1))) {
      const before = plan.get(key);
      if (before?.kind !== 'frontend' || after.kind !== 'frontend') continue;
      const { endpoints, inside } = after;
      plan.set(key, {
        ...before,
        endpoints,
        ...(inside && { inside: { ...before.inside, endpoints: inside.endpoints } }),
      });
    }
    return plan;
  }

  const LB = { nodePort: 30_080, loadBalancerVIPs: [VIP] };

  it.each([
    ['a cluster IP', {}, {}],
    ['a NodePort', LB, { destination: NODE_IP, port: 30_080 }],
    ['the local endpoints', { ...LB, isExternalLocal: true }, { destination: VIP }],
    ['pods, inside', { ...LB, isExternalLocal: true }, { destination: VIP, source: '10.244.0.9' }],
    ['source ranges', { ...LB, loadBalancerSourceRanges: ['198.51.100.0/24'] }, { destination: VIP }],
  ])('takes slot 0: %s', (_, port, packet) => {
    expect(ends(shrunk(port), packet)).toEqual(['10.244.0.1:8080']);
    expect(ends(planned(port), packet).length).toBeGreaterThan(1);
  });

  it('takes slot 0 of a hash, too', () => {
    const plan = planned({ balancing: 'source-hash' });
    const [key, web] = [...plan].find(([, { kind }]) => kind === 'frontend')!;
    if (web.kind !== 'frontend') throw new Error('no frontend');
    plan.set(key, {
      ...web,
      endpoints: ['10.244.0.1:8080', '', '10.244.0.2:8080', ...new Array<string>(248).fill('')],
    });
    expect(ends(plan)).toEqual(texts(PODS.slice(0, 2)));
  });

  it('asks twice where there is one slot only: kernels before 6.17 may miss an element that is replaced', () => {
    const choice = { slots: 1, isNodePort: false, isInside: false };
    const [first, again, ...more] = choiceRules(choice, layoutOf('IPv4'));
    expect(again?.expressions).toEqual(first?.expressions);
    expect(more).toEqual([]);
  });
});
