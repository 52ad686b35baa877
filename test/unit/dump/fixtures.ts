import { Map as ImmutableMap } from 'immutable';
import { IPTABLES_DUMP } from '../../../src/backends/iptables/dump-format.ts';
import type { IptablesObject } from '../../../src/backends/iptables/objects.ts';
import { parse } from '../../../src/backends/iptables/parse.ts';
import { planRoute } from '../../../src/backends/iptables/plan.ts';
import { planShared } from '../../../src/backends/iptables/shared-rules.ts';
import { planAll } from '../../../src/backends/route-changes.ts';
import { daemonDump } from '../../../src/dump/from-model.ts';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import type { Model } from '../../../src/endpoints/types.ts';
import type { EndpointSlice, Service } from '../../../src/watch/objects.ts';
import { IPTABLES_OPTIONS, service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';

const node = { name: 'node-a', zone: '' };

export const backend = {
  planRoute: (route: Parameters<typeof planRoute>[0]) => planRoute(route, IPTABLES_OPTIONS),
  planShared: () => planShared(IPTABLES_OPTIONS),
  dump: IPTABLES_DUMP,
};

export function modelOf(services: Service[], slices: EndpointSlice[]): Model {
  const snap = snapshot(services, slices);
  return updateModel(emptyModel('IPv4', node), snap, snap.services.keys(), node);
}

/** A Service with every kind of address, endpoints in every condition, and one without any. */
export const CLUSTER = modelOf(
  [
    service({
      ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 }],
      externalTrafficPolicy: 'Local',
      externalIPs: ['192.0.2.1'],
      loadBalancerIngress: [{ ip: '198.51.100.1', ipMode: 'VIP' }],
    }),
    service({
      name: 'idle',
      clusterIPs: ['10.96.0.11'],
      ports: [{ name: '', protocol: 'UDP', port: 53, nodePort: 0 }],
    }),
  ],
  [
    slice({
      endpoints: [
        sliceEndpoint('10.244.1.2', { nodeName: 'node-a' }),
        sliceEndpoint('10.244.2.2'),
        sliceEndpoint('10.244.2.3', { ready: false, terminating: true }),
      ],
    }),
  ],
);

/** The kernel that has what `model` wants. */
export function kernelOf(model: Model): ImmutableMap<string, IptablesObject> {
  return ImmutableMap(planAll(backend, model));
}

/** The kernel as a text of iptables-save tells it. */
export function kernelFrom(tables: Readonly<Record<'nat' | 'filter', string>>): ImmutableMap<string, IptablesObject> {
  return ImmutableMap([...parse(tables.filter, 'filter'), ...parse(tables.nat, 'nat')]);
}

export const pause = () => Promise.resolve();

export function dumpOf(model: Model, kernel: ImmutableMap<string, IptablesObject>, isMoving = false) {
  const view = { family: 'IPv4', model, backend, kernel: new Map(kernel), isMoving } as const;
  return daemonDump({ node: 'node-a', mode: 'iptables', families: [view], pause });
}
