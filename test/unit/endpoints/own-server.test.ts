import { describe, expect, test } from 'vitest';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import type { NodeFacts } from '../../../src/endpoints/types.ts';
import type { Service, SliceEndpoint } from '../../../src/watch/objects.ts';
import { service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';

const [OURS, OTHERS] = ['192.0.2.11', '192.0.2.12'];
const NODE: NodeFacts = { name: 'node-a', zone: '' };
const WITH_SERVER: NodeFacts = { ...NODE, ownServer: { service: 'kube-system/kube-dns', ips: [OURS] } };
const SERVED = { namespace: 'kube-system', name: 'kube-dns', clusterIPs: ['10.96.0.10'] };

const ours = (fields: Partial<SliceEndpoint> = {}) => sliceEndpoint(OURS, { nodeName: 'node-a', ...fields });
const others = (fields: Partial<SliceEndpoint> = {}) => sliceEndpoint(OTHERS, { nodeName: 'node-b', ...fields });

function clusterWith(endpoints: readonly SliceEndpoint[], fields: Partial<Service> = {}) {
  const dns = service({ ...SERVED, ...fields });
  const web = service();
  const ofDns = slice({ namespace: 'kube-system', name: 'kube-dns-1', serviceName: 'kube-dns', endpoints });
  const ofWeb = slice({ endpoints: [ours(), others()] });
  return snapshot([dns, web], [ofDns, ofWeb]);
}

function routesOf(endpoints: readonly SliceEndpoint[], facts: NodeFacts, fields: Partial<Service> = {}) {
  const cluster = clusterWith(endpoints, fields);
  const model = updateModel(emptyModel('IPv4', facts), cluster, cluster.services.keys(), facts);
  const ips = (list: readonly { readonly ip: string }[]) => list.map(({ ip }) => ip);
  return Object.fromEntries(
    [...model.routes.values()].map(({ servicePort: { name }, clusterEndpoints, localEndpoints }) => [
      name.name,
      { cluster: ips(clusterEndpoints), local: ips(localEndpoints) },
    ]),
  );
}

describe('the endpoint that is this program itself', () => {
  test('is in no rule of its Service while another is ready, and in those of other Services', () => {
    expect(routesOf([ours(), others()], WITH_SERVER)).toEqual({
      'kube-dns': { cluster: [OTHERS], local: [] },
      web: { cluster: [OURS, OTHERS], local: [] },
    });
  });

  test('is there where no other is ready, and where this program does not serve', () => {
    const both = { cluster: [OURS], local: [] };
    expect(routesOf([ours()], WITH_SERVER)['kube-dns']).toEqual(both);
    expect(routesOf([ours(), others({ ready: false })], WITH_SERVER)['kube-dns']).toEqual(both);
    expect(routesOf([ours(), others()], NODE)['kube-dns']?.cluster).toEqual([OURS, OTHERS]);
  });

  test('stays in the local set, which has nobody else', () => {
    const { 'kube-dns': route } = routesOf([ours(), others()], WITH_SERVER, { internalTrafficPolicy: 'Local' });
    expect(route?.local).toEqual([OURS]);
  });

  test('leaves nobody without an endpoint for a hint that names this node', () => {
    const hinted = [ours({ nodeHints: ['node-a'] }), others({ nodeHints: ['node-b'] })];
    expect(routesOf(hinted, WITH_SERVER)['kube-dns']?.cluster).toEqual([OTHERS]);
  });

  test('a change of who serves looks at that Service only', () => {
    const cluster = clusterWith([ours(), others()]);
    const before = updateModel(emptyModel('IPv4', NODE), cluster, cluster.services.keys(), NODE);
    const after = updateModel(before, cluster, [], WITH_SERVER);
    expect([...after.changed].every(key => key.startsWith('kube-system/kube-dns'))).toBe(true);
    expect(after.changed.size).toBe(1);
    expect([...updateModel(after, cluster, [], NODE).changed]).toEqual([...after.changed]);
  });
});
