import { describe, expect, it } from 'vitest';
import { type ServiceFlow, type StaleOptions, staleJudge, suspectClaims } from '../../../src/conntrack/stale.ts';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import type { Model } from '../../../src/endpoints/types.ts';
import type { EndpointSlice, Service } from '../../../src/watch/objects.ts';
import { service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';

const node = { name: 'node-a', zone: '' };
const udp = (nodePort = 0) => [{ name: 'dns', protocol: 'UDP' as const, port: 53, nodePort }];
const dns = (fields: Partial<Service> = {}) => service({ name: 'web', ports: udp(), ...fields });
const pods = (...endpoints: EndpointSlice['endpoints'][number][]) =>
  slice({ ports: [{ name: 'dns', protocol: 'UDP', port: 5353 }], endpoints });
const a = '10.244.1.2';
const b = '10.244.2.2';
const both = pods(sliceEndpoint(a), sliceEndpoint(b));

function modelOf(services: readonly Service[], slices: readonly EndpointSlice[] = [both], before?: Model): Model {
  const snap = snapshot(services, slices);
  const keys = new Set([...snap.services.keys(), ...(before?.servicePorts.keys() ?? [])]);
  return updateModel(before ?? emptyModel('IPv4', node), snap, keys, node);
}

const flow = (fields: Partial<ServiceFlow> = {}): ServiceFlow => ({
  protocol: 'UDP',
  destination: '10.96.0.10',
  destinationPort: 53,
  replySource: a,
  replyPort: 5353,
  zone: 0,
  ...fields,
});
const isStale = (model: Model, one: ServiceFlow, options?: StaleOptions) => staleJudge(model, options)(one);

describe('a flow', () => {
  it.each([
    ['ready', {}, false],
    ['serving while it terminates', { ready: false, serving: true, terminating: true }, false],
    ['published though not ready', { ready: true, serving: false }, false],
    ['not ready', { ready: false, serving: false }, true],
    ['terminating and not serving', { ready: false, serving: false, terminating: true }, true],
  ])('to an endpoint that is %s', (_, conditions, expected) => {
    const model = modelOf([dns()], [pods(sliceEndpoint(a, conditions), sliceEndpoint(b))]);
    expect(isStale(model, flow())).toBe(expected);
  });

  it('to an endpoint that new flows do not get lives on', () => {
    const remote = sliceEndpoint(a, { nodeName: 'node-b' });
    const model = modelOf([dns({ internalTrafficPolicy: 'Local' })], [pods(remote)]);
    expect(isStale(model, flow())).toBe(false);
  });

  it('that no rule sent on is stale, but not in a zone of somebody else', () => {
    const unsent = flow({ replySource: '10.96.0.10', replyPort: 53 });
    expect(isStale(modelOf([dns()]), unsent)).toBe(true);
    expect(isStale(modelOf([dns()]), { ...unsent, zone: 7 })).toBe(false);
    expect(isStale(modelOf([dns()]), flow({ replySource: '10.244.9.9', zone: 7 }))).toBe(true);
  });

  it('to an endpoint on the external address itself lives on', () => {
    const model = modelOf([dns({ externalIPs: ['192.0.2.11'], ports: udp() })], [pods(sliceEndpoint('192.0.2.11'))]);
    const toItself = flow({ destination: '192.0.2.11', replySource: '192.0.2.11' });
    expect(isStale(model, { ...toItself, replyPort: 5353 })).toBe(false);
    expect(isStale(model, { ...toItself, replyPort: 53 })).toBe(true);
  });

  describe('to a nodePort', () => {
    const options = { takesNodePorts: (address: string) => address === '192.0.2.11' };
    const model = modelOf([dns({ ports: udp(30_053) })]);
    const toNode = flow({ destination: '192.0.2.11', destinationPort: 30_053 });

    it('is judged as any other', () => {
      expect(isStale(model, toNode, options)).toBe(false);
      expect(isStale(model, { ...toNode, replySource: '10.244.9.9' }, options)).toBe(true);
    });

    it('of another node passes through', () => {
      const passing = { ...toNode, destination: '192.0.2.12', replySource: '192.0.2.12', replyPort: 30_053 };
      expect(isStale(model, passing, options)).toBe(false);
      const ours = { ...toNode, replySource: '192.0.2.11', replyPort: 30_053 };
      expect(isStale(model, ours, options)).toBe(true);
    });

    it("of an address that another Service has is that Service's", () => {
      const other = service({
        name: 'other',
        clusterIPs: ['10.96.0.20'],
        ports: [{ name: 'x', protocol: 'UDP', port: 30_053, nodePort: 0 }],
      });
      const otherPods = slice({
        name: 'other-1',
        serviceName: 'other',
        ports: [{ name: 'x', protocol: 'UDP', port: 1 }],
        endpoints: [sliceEndpoint('10.244.5.5')],
      });
      const two = modelOf([dns({ ports: udp(30_053) }), other], [both, otherPods]);
      const toOther = flow({ destination: '10.96.0.20', destinationPort: 30_053, replySource: '10.244.5.5' });
      expect(isStale(two, { ...toOther, replyPort: 1 }, options)).toBe(false);
    });
  });

  it('to an address that nobody serves is stale when it was served, and sent on', () => {
    const none = emptyModel('IPv4', node);
    const lost = new Set(['10.96.0.10 53/UDP']);
    expect(isStale(none, flow())).toBe(false);
    expect(isStale(none, flow(), { lost })).toBe(true);
    expect(isStale(none, flow({ replySource: '10.96.0.10', replyPort: 53 }), { lost })).toBe(false);
    expect(isStale(modelOf([dns()]), flow(), { lost })).toBe(false);
  });
});

describe('what a change puts under suspicion', () => {
  const of = (before: Model, services: readonly Service[], slices?: readonly EndpointSlice[]) =>
    [...suspectClaims(before, modelOf(services, slices, before)).keys()].toSorted();
  const full = dns({ externalIPs: ['192.0.2.9'], ports: udp(30_053) });
  const claims = ['10.96.0.10 53/UDP', '192.0.2.9 53/UDP', 'nodePort 30053/UDP'];

  it('nothing, when nothing changed, or over TCP, or an endpoint more', () => {
    expect(of(modelOf([full]), [full])).toEqual([]);
    const web = service({ ports: [{ name: 'dns', protocol: 'TCP', port: 53, nodePort: 0 }] });
    expect(of(modelOf([web]), [])).toEqual([]);
    expect(of(modelOf([full], [pods(sliceEndpoint(a))]), [full], [both])).toEqual([]);
    const draining = pods(sliceEndpoint(a, { ready: false, terminating: true }), sliceEndpoint(b));
    expect(of(modelOf([full]), [full], [draining])).toEqual([]);
  });

  it('all of a Service that is new, lost an endpoint, lost them all, or is gone', () => {
    expect(of(emptyModel('IPv4', node), [full])).toEqual(claims);
    expect(of(modelOf([full]), [full], [pods(sliceEndpoint(b))])).toEqual(claims);
    expect(of(modelOf([full]), [full], [])).toEqual(claims);
    expect(of(modelOf([full]), [])).toEqual(claims);
  });

  it('all, by where they were sent, of a Service that sends on whom it refused before', () => {
    const byDestination = (before: Model, services: readonly Service[], slices?: readonly EndpointSlice[]) =>
      [...suspectClaims(before, modelOf(services, slices, before))]
        .filter(([, { isByDestination }]) => isByDestination)
        .map(([claim]) => claim)
        .toSorted();
    expect(byDestination(modelOf([full], []), [full], [both])).toEqual(claims);
    const local = { ...full, externalTrafficPolicy: 'Local' } as const;
    const elsewhere = pods(sliceEndpoint(b, { nodeName: 'node-b' }));
    const here = pods(sliceEndpoint(a, { nodeName: 'node-a' }), sliceEndpoint(b, { nodeName: 'node-b' }));
    expect(byDestination(modelOf([local], [elsewhere]), [local], [here])).toEqual(claims);
    expect(byDestination(modelOf([full], [elsewhere]), [full], [here])).toEqual([]);
    const ranged = (range: string) => ({ ...full, type: 'LoadBalancer' as const, loadBalancerSourceRanges: [range] });
    const [narrow, wide] = [ranged('192.0.2.0/28'), ranged('192.0.2.0/24')];
    expect(byDestination(modelOf([narrow]), [wide])).toEqual(claims);
    expect(byDestination(modelOf([full]), [full], [pods(sliceEndpoint(b))])).toEqual([]);
  });

  it('an address that is new or gone, alone', () => {
    const other = dns({ externalIPs: ['192.0.2.8'], ports: udp(30_053) });
    expect(of(modelOf([full]), [other])).toEqual(['192.0.2.8 53/UDP', '192.0.2.9 53/UDP']);
  });

  it('an address that goes over to another Service', () => {
    const second = service({ name: 'second', creationTimestamp: '2026-02-01T00:00:00Z', ports: udp() });
    const contested = modelOf([dns(), second]);
    expect(of(contested, [second])).toEqual(['10.96.0.10 53/UDP']);
  });
});
