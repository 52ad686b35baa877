/** The ways of packets through what is planned for one Service port: every end that chance may lead to. */
import { describe, expect, it } from 'vitest';
import { planRoute } from '../../../../src/backends/nftables/plan.ts';
import { planShared } from '../../../../src/backends/nftables/shared-rules.ts';
import { type OpeningPacket, rulesetOf, trace } from '../../../../src/backends/nftables/trace.ts';
import { RuleMachine } from '../../../../src/backends/nftables/trace-machine.ts';
import type { Endpoint, ServicePort, ServiceRoute } from '../../../../src/endpoints/types.ts';
import { endpoint, NFTABLES_OPTIONS, servicePort } from '../../../fakes/objects.ts';

const NODE = '192.0.2.1';
const CLUSTER_IP = '10.96.0.10';
const here = endpoint('10.244.0.1', { isLocal: true, mayBeLocal: true });
const there = [1, 2, 3].map(n => endpoint(`10.244.1.${n}`));

interface Sets {
  readonly cluster: readonly Endpoint[];
  readonly local?: readonly Endpoint[];
}

function routeOf(port: Partial<ServicePort>, { cluster, local = [] }: Sets): ServiceRoute {
  const endpoints = [...new Set([...cluster, ...local])];
  return {
    ...{ servicePort: servicePort({ clusterIP: CLUSTER_IP, ...port }), endpoints },
    ...{ clusterEndpoints: cluster, localEndpoints: local, hasAnyEndpoints: endpoints.length > 0 },
  };
}

/** Where the packets end, sorted. */
function ends(route: ServiceRoute, packet: Partial<OpeningPacket>, own: readonly string[] = [NODE]): readonly string[] {
  const plan = new Map([...planShared(NFTABLES_OPTIONS), ...planRoute(route, NFTABLES_OPTIONS)]);
  const opening = {
    source: '198.51.100.9',
    destination: NODE,
    port: 30_080,
    protocol: 'TCP',
    inInterface: 'eth0',
  } as const;
  const landings = trace(rulesetOf(plan, 'IPv4'), { ...opening, ...packet }, address => own.includes(address));
  return landings.map(({ verdict, destination }) => (verdict === 'delivered' ? destination : verdict)).toSorted();
}

describe('source-hash with policy Local', () => {
  const port = { nodePort: 30_080, isExternalLocal: true, balancing: 'source-hash' } as const;
  const pod = { source: '10.244.0.9', inInterface: 'veth0' };

  it('leads pods and the node to all endpoints, others to those of this node', () => {
    const route = routeOf(port, { cluster: [here, ...there], local: [here] });
    const all = [here, ...there].map(({ ip }) => ip);
    expect(ends(route, pod)).toEqual(all);
    expect(ends(route, { source: NODE, inInterface: '' })).toEqual(all);
    expect(ends(route, {})).toEqual([here.ip]);
  });

  it('leads pods to all endpoints where none is of this node', () => {
    const route = routeOf(port, { cluster: there });
    expect(ends(route, pod)).toEqual(there.map(({ ip }) => ip));
    expect(ends(route, {})).toEqual(['DROP']);
  });
});

describe('session affinity', () => {
  const port = { affinityTimeoutSeconds: 60, nodePort: 30_080, isExternalLocal: true } as const;
  const members = (more: Partial<ServicePort>, sets: Sets) =>
    [...planRoute(routeOf({ ...port, ...more }, sets), NFTABLES_OPTIONS).values()].flatMap(object =>
      object.kind === 'members' ? [object.endpoints] : [],
    );

  it('remembers a client at endpoints of the address that it used only', () => {
    // The one here is terminating: only policy Local falls back to it.
    expect(members({}, { cluster: there, local: [here] })).toEqual([
      there.map(({ ip }) => `${ip}:8080`),
      [`${here.ip}:8080`],
    ]);
    expect(members({}, { cluster: [], local: [here] })).toEqual([[`${here.ip}:8080`]]);
  });

  it('remembers nobody at an endpoint that weighs nothing', () => {
    const endpointWeights = [{ cidr: `${there[0]!.ip}/32`, weight: 0 }];
    expect(members({ endpointWeights, isExternalLocal: false }, { cluster: there })).toEqual([
      there.slice(1).map(({ ip }) => `${ip}:8080`),
    ]);
  });
});

describe('a cluster IP', () => {
  const route = routeOf({}, { cluster: there });
  const packet = { source: '10.244.0.9', destination: CLUSTER_IP, port: 9253 };

  it('refuses ports that the Service doesn’t have', () => {
    expect(ends(route, packet)).toEqual(['REJECT']);
  });

  it('that a program has on this node leaves it the other ports', () => {
    expect(ends(route, packet, [NODE, CLUSTER_IP])).toEqual([CLUSTER_IP]);
  });
});

it('whom another program sent on from an address without NodePorts keeps his own', () => {
  const shared = planShared({ ...NFTABLES_OPTIONS, nodePortAddresses: ['192.0.2.0/24'] });
  const { chains, sets } = rulesetOf(shared, 'IPv4');
  const machine = new RuleMachine({ family: 'IPv4', sets, isLocal: () => false });
  const goesOn = (destination: string) => {
    const packet = {
      ...({ source: '198.51.100.9', destination: here.ip, port: 8080, protocol: 'TCP', inInterface: 'eth0' } as const),
      ...{ original: { destination, port: 30_080 }, isTranslated: true, isMasqueraded: false, path: [] },
    };
    const verdicts = chains
      .get('nat-postrouting')!
      .rules.flatMap(({ expressions }) => machine.rule(expressions, packet));
    return verdicts.some(({ verdict }) => verdict?.chain === 'source-node-port');
  };
  expect(goesOn(NODE)).toBe(true);
  expect(goesOn('198.51.100.1')).toBe(false);
});

describe('a cluster IP that is an address of this node, as that of a DNS Service', () => {
  const route = routeOf({ nodePort: 30_080, port: 53 }, { cluster: there });
  const own = [NODE, CLUSTER_IP];

  it('leads to the endpoints by the ports of its Service', () => {
    expect(ends(route, { destination: CLUSTER_IP, port: 53 }, own)).toEqual(there.map(({ ip }) => ip));
  });

  it('takes no NodePort: what has that very address for its own decides, and this node itself is refused', () => {
    expect(ends(route, { destination: NODE }, own)).toEqual(there.map(({ ip }) => ip));
    expect(ends(route, { destination: CLUSTER_IP }, own)).toEqual([CLUSTER_IP]);
    expect(ends(route, { destination: CLUSTER_IP, source: NODE, inInterface: '' }, own)).toEqual(['REJECT']);
  });
});
