import { describe, expect, it } from 'vitest';
import { nftablesDump } from '../../../../src/backends/nftables/dump-format.ts';
import { affinityMap, learnChain, portOfName } from '../../../../src/backends/nftables/names.ts';
import { byKey, type NftObject } from '../../../../src/backends/nftables/objects.ts';
import { planRoute } from '../../../../src/backends/nftables/plan.ts';
import { settle } from '../../../../src/backends/nftables/settle.ts';
import { planShared } from '../../../../src/backends/nftables/shared-rules.ts';
import { planAll } from '../../../../src/backends/route-changes.ts';
import { kernelFamily } from '../../../../src/dump/from-kernel.ts';
import { daemonDump } from '../../../../src/dump/from-model.ts';
import { type DumpFamily, type DumpServicePort, selectServices, serviceText } from '../../../../src/dump/state.ts';
import { renderDump } from '../../../../src/dump/table.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import { verdict } from '../../../../src/netfilter/expressions.ts';
import { manyRoutes } from '../../../fakes/many-services.ts';
import { NFTABLES_OPTIONS, NFTABLES_OPTIONS_V6 } from '../../../fakes/objects.ts';

function backendOf(family: IPFamily) {
  const options = family === 'IPv4' ? NFTABLES_OPTIONS : NFTABLES_OPTIONS_V6;
  return {
    planRoute: (route: Parameters<typeof planRoute>[0]) => planRoute(route, options),
    planShared: () => planShared(options),
    isShared: (key: string) => /^chain\/(?!.*(affinity|learn|members)-)/.test(key),
    settle,
    dump: nftablesDump(family),
  };
}

const kernelOf = (family: IPFamily) => new Map(planAll(backendOf(family), manyRoutes(family)));

async function daemonView(kernel: Map<string, NftObject>): Promise<DumpFamily> {
  const view = {
    family: 'IPv4',
    model: manyRoutes('IPv4'),
    backend: backendOf('IPv4'),
    kernel,
    isMoving: false,
  } as const;
  const pause = () => Promise.resolve();
  const { families } = await daemonDump({ node: 'node-a', mode: 'nftables', families: [view], pause });
  return families[0]!;
}

const kernelView = (kernel: Map<string, NftObject>, family: IPFamily = 'IPv4') =>
  kernelFamily(family, kernel, nftablesDump(family));
const byName = ({ services }: DumpFamily) => new Map(services.map(port => [serviceText(port), port]));
const wrong = ({ rules }: Pick<DumpServicePort, 'rules'>) =>
  rules.filter(({ state }) => state !== 'ok').map(({ chain, rule, state }) => `${state}: ${chain} ${rule}`);

function changed(key: string, change: (object: NftObject) => NftObject | undefined): Map<string, NftObject> {
  const kernel = kernelOf('IPv4');
  const object = kernel.get(key);
  if (object === undefined) throw new Error(`no ${key}`);
  const after = change(object);
  if (after === undefined) kernel.delete(key);
  else kernel.set(key, after);
  return kernel;
}

const WEB = 'frontend/10.96.0.10 TCP 80';

describe('the kernel beside what is desired', () => {
  it('has everything, wherever the endpoints have their slots', async () => {
    const turn = <O extends NftObject>(object: O) =>
      object.kind === 'frontend' ? { ...object, endpoints: object.endpoints.toReversed() } : object;
    const told = await daemonView(changed(WEB, turn));
    expect(told.services.map(({ state }) => state)).toEqual(told.services.map(() => 'ok'));
    expect(told.shared.state).toBe('ok');
  });

  it('lacks an element, and has another', async () => {
    const kernel = changed(
      WEB,
      object => ({ ...object, refusal: 'discard', endpoints: ['10.244.1.2:8080', ''] }) as NftObject,
    );
    const web = byName(await daemonView(kernel)).get('default/web:http');
    expect(wrong(web!)).toEqual([
      'missing: endpoints 10.96.0.10 . tcp . 80 . 0x00000001 : 10.244.1.3 . 8080',
      'unexpected: refused 10.96.0.10 . tcp . 80 comment "default/web:http" : goto discard',
    ]);
    expect(web?.state).toBe('differs');
  });

  it('may have chains that no Service uses now, but no foreign ones', async () => {
    const kernel = kernelOf('IPv4');
    const chain = (name: string) => ({ kind: 'chain', name, rules: [{ expressions: [verdict('drop')] }] }) as const;
    const names = ['lb-7', 'guard-local-node-lb-9', 'local-hash-inside', 'mine'];
    for (const [key, object] of byKey(names.map(chain))) kernel.set(key, object);
    expect(wrong((await daemonView(kernel)).shared)).toEqual(['unexpected: mine drop']);
  });

  it('has what is left of a Service that is gone', async () => {
    const kernel = kernelOf('IPv4');
    const gone = { kind: 'frontend', where: { ip: '10.96.0.99', port: 80, protocol: 'TCP' } } as const;
    const objects: NftObject[] = [
      { ...gone, service: 'default/gone:http', chain: 'lb-1', endpoints: ['10.244.1.99:80'] },
      { kind: 'cluster-ip', ip: '10.96.0.99', service: 'default/gone' },
      { kind: 'cluster-ip', ip: '10.96.0.98', service: 'default/nobody' },
    ];
    for (const [key, object] of byKey(objects)) kernel.set(key, object);
    const told = await daemonView(kernel);
    expect(byName(told).get('default/gone:http')).toMatchObject({ protocol: 'TCP', state: 'differs' });
    expect(wrong(byName(told).get('default/gone:http')!)).toHaveLength(3);
    expect(wrong(told.shared)).toEqual(['unexpected: cluster-ips 10.96.0.98 comment "default/nobody"']);
  });
});

describe.each(['IPv4', 'IPv6'] as const)('Services from the %s elements alone', family => {
  const told = kernelView(kernelOf(family), family);
  const names = byName(told);
  const port = (name: string) => names.get(`default/${name}`);
  const kinds = (name: string) => port(name)?.addresses.map(({ kind }) => kind);

  it('are all there, each with the rules that it was planned with', () => {
    const planned = [...manyRoutes(family).routes.values()].map(route => backendOf(family).planRoute(route));
    const counts = planned.map(objects =>
      [...objects]
        .filter(([key]) => !backendOf(family).isShared(key))
        .flatMap(([, object]) => nftablesDump(family).textsOf(object))
        .reduce((sum, { lines }) => sum + lines.length, 0),
    );
    expect(told.services.map(({ rules }) => rules.length).toSorted()).toEqual(counts.toSorted());
  });

  it('have their addresses by kind, as far as elements tell', () => {
    expect(kinds('web:http')).toEqual(['clusterIP', 'nodePort', 'externalIP']);
    expect(kinds('idle')).toEqual(['clusterIP', 'nodePort']);
    expect(kinds('guarded-idle:http')).toEqual(['clusterIP', 'externalIP']);
    expect(port('idle')?.addresses).toEqual([
      { kind: 'clusterIP', ip: family === 'IPv4' ? '10.96.0.12' : 'fd00:10:96::12', port: 3868 },
      { kind: 'nodePort', port: 30868 },
    ]);
  });

  it('have their policies, as far as elements tell', () => {
    const policies = (name: string) => [port(name)?.internalTrafficPolicy, port(name)?.externalTrafficPolicy];
    expect(policies('web:http')).toEqual(['Cluster', 'Cluster']);
    expect(policies('far:http')).toEqual(['Local', 'Local']);
    expect(policies('local:http')).toEqual([null, 'Local']);
    expect(policies('guarded:http')).toEqual(['Cluster', 'Cluster']);
    expect(policies('idle')).toEqual([null, null]);
  });

  it('have their endpoints, with those that are known to be on this node', () => {
    const endpoints = (name: string) => port(name)?.endpoints.map(({ local, used }) => [local, used]);
    expect(endpoints('web:http')).toEqual([
      [null, true],
      [false, true],
    ]);
    expect(endpoints('local:http')).toEqual([
      [true, true],
      [null, true],
    ]);
    expect(endpoints('far:http')).toEqual([[null, true]]);
    expect(endpoints('idle')).toEqual([]);
  });
});

describe('for people', () => {
  it('rules have their chain or set in front, and marks', async () => {
    const kernel = changed(WEB, object => ({ ...object, endpoints: ['10.244.1.2:8080', ''] }) as NftObject);
    kernel.set('chain/mine', { kind: 'chain', name: 'mine', rules: [] });
    const family = await daemonView(kernel);
    const base = { apiVersion: 'kproxy-ts.dev/v1alpha1', kind: 'Dump', source: 'daemon', node: 'node-a' } as const;
    const state = { ...base, mode: 'nftables', families: [family], contested: [] };
    const web = selectServices(state, ['web']).state;
    expect(renderDump(web, { isDetailed: true, hasColours: false })).toContain(
      `  Rules, not as they should be
             services     10.96.0.10 . tcp . 80 comment "default/web:http" : goto lb-2
`,
    );
    const table = renderDump(state, { isDetailed: false, hasColours: false });
    expect(table).toMatch(/^default\/web:http .* 1 missing$/m);
    expect(table).toContain('IPv4, rules that no Service owns:\n    unexpected  mine  (no rules)\n');
  });
});

describe('a rule', () => {
  it('comes where a packet meets it', () => {
    const [sticky] = [byName(kernelView(kernelOf('IPv4'))).get('default/sticky:http')];
    const seen = [...new Set(sticky?.rules.map(({ chain }) => chain.replace(/-[0-9a-f]{8}-.*/, '')))];
    expect(seen).toEqual([
      'services',
      'local-affinity-local',
      'inside',
      'affinity',
      'affinity-local',
      'endpoints',
      'learners',
      'learn',
      'members',
      'members-local',
      'cluster-ips',
      'hairpins',
      'external',
    ]);
  });
});

describe('the owner', () => {
  it('of what a port has alone is told by its name, however the port is called', () => {
    for (const port of ['', 'http', 'lb-2', 'x-node-lb-1', 'hash-inside']) {
      const name = { namespace: 'a', name: 'b', port, protocol: 'UDP' } as const;
      for (const then of ['lb-1', 'node-lb-12-inside', 'hash', 'node-hash'])
        expect(portOfName(`guard-local-${affinityMap(name)}-${then}`)).toEqual(name);
      expect(portOfName(learnChain(name))).toEqual(name);
    }
    expect(portOfName('affinity-00000000-a/b/tcp/http')).toBeUndefined();
    expect(portOfName('learn')).toBeUndefined();
  });

  it('of elements whose comment is cut has the name of that comment', () => {
    const [long] = kernelView(kernelOf('IPv4')).services.filter(({ namespace }) => namespace !== 'default');
    expect(long).toMatchObject({ name: `${'a'.repeat(60)}...`, port: '' });
    expect(long?.rules.map(({ chain }) => chain)).toEqual(['services', 'endpoints', 'cluster-ips', 'hairpins']);
  });

  it('of elements without a comment is not known', () => {
    const kernel = changed(WEB, object => {
      const { chain: _, ...rest } = object as Extract<NftObject, { kind: 'frontend' }>;
      return { ...rest, service: '' };
    });
    const lines = kernelView(kernel).shared.rules.map(({ chain, rule }) => `${chain} ${rule}`);
    expect(lines).toContain('endpoints 10.96.0.10 . tcp . 80 . 0x00000000 : 10.244.1.2 . 8080');
  });
});

describe('the way to the Services', () => {
  const missing = (kernel: Map<string, NftObject>) =>
    kernelView(kernel).shared.rules.filter(({ state }) => state === 'missing');
  const withRules = (name: string, keep: (index: number) => boolean) =>
    changed(`chain/${name}`, object => {
      const chain = object as Extract<NftObject, { kind: 'chain' }>;
      return { ...chain, rules: chain.rules.filter((_, index) => keep(index)) };
    });

  it('is all there', () => expect(missing(kernelOf('IPv4'))).toEqual([]));

  it('lacks a chain, or the jump in it', () => {
    expect(missing(changed('chain/nat-prerouting', () => undefined))).toMatchObject([
      { chain: 'nat-prerouting', rule: expect.stringMatching(/^type nat hook prerouting/) },
      { chain: 'nat-prerouting', rule: 'jump dispatch' },
    ]);
    expect(missing(withRules('nat-output', () => false))).toMatchObject([
      { chain: 'nat-output', rule: 'jump dispatch' },
    ]);
  });

  it('needs one of two rules that do the same', () => {
    expect(missing(withRules('dispatch', index => index !== 0))).toEqual([]);
    expect(missing(withRules('dispatch', index => index > 1))).toHaveLength(2);
  });
});
