import { describe, expect, it } from 'vitest';
import { clusterPolicyChain, endpointChain } from '../../../src/backends/iptables/names.ts';
import type { IptablesObject } from '../../../src/backends/iptables/objects.ts';
import { daemonDump } from '../../../src/dump/from-model.ts';
import { type DumpState, selectServices } from '../../../src/dump/state.ts';
import { service, slice } from '../../fakes/objects.ts';
import { backend, CLUSTER, dumpOf, kernelOf, modelOf, pause } from './fixtures.ts';

const [family] = (await dumpOf(CLUSTER, kernelOf(CLUSTER))).families;
const WEB = 'KUBE-SEP-';

function marked(dump: DumpState) {
  const all = dump.families.flatMap(({ services, shared }) => [...services, shared]);
  return all.flatMap(({ rules }) => rules).filter(({ state }) => state !== 'ok');
}

describe('a dump of a Model beside the kernel', () => {
  it('tells addresses, policies and endpoints', () => {
    expect(family?.services.map(({ name, port, state }) => [name, port, state])).toEqual([
      ['idle', '', 'ok'],
      ['web', 'http', 'ok'],
    ]);
    expect(family?.services[1]).toMatchObject({
      addresses: [
        { kind: 'clusterIP', ip: '10.96.0.10', port: 80 },
        { kind: 'nodePort', port: 30080 },
        { kind: 'externalIP', ip: '192.0.2.1', port: 80 },
        { kind: 'loadBalancerIP', ip: '198.51.100.1', port: 80 },
      ],
      internalTrafficPolicy: 'Cluster',
      externalTrafficPolicy: 'Local',
      endpoints: [
        { ip: '10.244.1.2', ready: true, local: true, used: true },
        { ip: '10.244.2.2', ready: true, local: false, used: true },
        { ip: '10.244.2.3', ready: false, serving: true, terminating: true, used: false },
      ],
    });
  });

  it('lists every object of the plan, and all of them are there', async () => {
    const dump = await dumpOf(CLUSTER, kernelOf(CLUSTER));
    expect(marked(dump)).toEqual([]);
    const chains = new Set(family?.services[1]?.rules.map(({ chain }) => chain.replace(/-[A-Z2-7]{16}$/, '')));
    expect([...chains]).toEqual(['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-EXT', 'KUBE-SVC', 'KUBE-SVL', 'KUBE-SEP']);
    expect(family?.shared.state).toBe('ok');
    expect(family?.comparison).toBe('steady');
  });

  it('a rule that went is missing, and only that one', async () => {
    const chain = endpointChain('default/web:http', 'tcp', '10.244.2.2:8080');
    const kernel = kernelOf(CLUSTER).update(chain, object => {
      return {
        ...object,
        rules: '-s 10.244.2.2/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ',
      } as IptablesObject;
    });
    const dump = await dumpOf(CLUSTER, kernel);
    expect(marked(dump)).toEqual([
      expect.objectContaining({ chain, rule: expect.stringContaining('DNAT'), state: 'missing' }),
    ]);
    expect(dump.families[0]?.services.map(({ state }) => state)).toEqual(['ok', 'differs']);
  });

  it('nothing at all in the kernel: everything is missing', async () => {
    const [nothing] = (await dumpOf(CLUSTER, kernelOf(CLUSTER).clear())).families;
    expect(nothing?.services.map(({ state }) => state)).toEqual(['missing', 'missing']);
    expect(nothing?.shared.state).toBe('missing');
  });

  it('what is left of an endpoint, a Service and of nobody known is unexpected, each where it belongs', async () => {
    const before = modelOf(
      [service(), service({ name: 'gone', clusterIPs: ['10.96.0.99'] })],
      [slice(), slice({ name: 'gone-1', serviceName: 'gone' })],
    );
    const after = modelOf([service()], [slice({ endpoints: slice().endpoints.slice(0, 1) })]);
    const stray = { kind: 'chain', table: 'nat', name: 'KUBE-SEP-AAAAAAAAAAAAAAAA', rules: '' } as const;
    const kernel = kernelOf(before)
      .set(`${WEB}AAAAAAAAAAAAAAAA`, stray)
      .set(
        clusterPolicyChain('default/web:http', 'tcp'),
        kernelOf(after).get(clusterPolicyChain('default/web:http', 'tcp'))!,
      );
    const [found] = (await dumpOf(after, kernel)).families;
    const [gone, web] = found?.services ?? [];
    expect(web?.rules.filter(({ state }) => state !== 'ok').map(({ chain, state }) => [chain, state])).toEqual([
      [endpointChain('default/web:http', 'tcp', '10.244.2.2:8080'), 'unexpected'],
      [endpointChain('default/web:http', 'tcp', '10.244.2.2:8080'), 'unexpected'],
    ]);
    expect(gone).toMatchObject({ name: 'gone', state: 'differs', addresses: [{ ip: '10.96.0.99', port: 80 }] });
    expect(gone?.rules.every(({ state }) => state === 'unexpected')).toBe(true);
    expect(found?.shared.rules.filter(({ state }) => state !== 'ok')).toEqual([
      { table: 'nat', chain: stray.name, rule: '', state: 'unexpected' },
    ]);
  });

  it('names the owner and the losers of a contested address', async () => {
    const model = modelOf([service(), service({ name: 'younger', creationTimestamp: '2026-02-01T00:00:00Z' })], []);
    expect((await dumpOf(model, kernelOf(model))).contested).toEqual([
      '10.96.0.10 80/TCP belongs to default/web:http; also claimed by default/younger:http',
    ]);
  });

  it('says when the kernel was changing, and judges nothing before the first plan', async () => {
    expect((await dumpOf(CLUSTER, kernelOf(CLUSTER), true)).families[0]?.comparison).toBe('moving');
    const view = {
      family: 'IPv4',
      model: undefined,
      backend,
      kernel: new Map(kernelOf(CLUSTER)),
      isMoving: false,
    } as const;
    const [unplanned] = (await daemonDump({ node: 'node-a', mode: 'iptables', families: [view], pause })).families;
    expect(unplanned).toMatchObject({ comparison: 'none', shared: { state: 'unchecked' } });
    expect(unplanned?.services.map(({ state }) => state)).toEqual(['unchecked', 'unchecked']);
  });
});

const dump = await dumpOf(CLUSTER, kernelOf(CLUSTER));

describe('selectServices', () => {
  const names = (...wanted: string[]) => {
    const { state, unknown } = selectServices(dump, wanted);
    return [state.families[0]?.services.map(({ name }) => name), unknown];
  };

  it('takes namespace/name, name alone, and either with a port', () => {
    expect(names()).toEqual([['idle', 'web'], []]);
    for (const text of ['default/web', 'web', 'web:http', 'default/web:http'])
      expect(names(text)).toEqual([['web'], []]);
  });

  it('tells which names nobody has', () => {
    expect(names('web', 'other/web', 'web:https', 'we')).toEqual([['web'], ['other/web', 'web:https', 'we']]);
  });
});
