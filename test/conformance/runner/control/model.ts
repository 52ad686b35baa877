/** The Model of one family that a group's objects lead to, by the product's own way. */

import type { Model } from '../../../../src/endpoints/types.ts';
import { ModelFeed } from '../../../../src/model-feed.ts';
import type { IPFamily } from '../../../../src/watch/objects.ts';
import { newStore, takeStep } from '../cluster.ts';

const FAMILY = 'IPv4';

export function modelOf(objects: readonly unknown[], nodeName: string, family: IPFamily = FAMILY): Model {
  const store = newStore({ nodeName, nodeIPs: [], ipFamilies: [family], localDetect: { mode: 'None' } });
  takeStep(store, { apply: objects });
  return new ModelFeed({ store, family, nodeName, onContest: () => undefined }).pull();
}

/** A Service of the namespace `default`. */
export function serviceObject(name: string, spec: object, ingress: readonly string[] = []): unknown {
  return {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'default', name }, spec },
    status: { loadBalancer: { ingress: ingress.map(ip => ({ ip })) } },
  };
}

/** One of the Service's EndpointSlices. */
export function sliceObject(
  service: string,
  { name, endpoints, ports }: { name: string; endpoints: readonly object[]; ports: readonly object[] },
  family: IPFamily = FAMILY,
): unknown {
  return {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: family, endpoints, ports },
    metadata: { namespace: 'default', name, labels: { 'kubernetes.io/service-name': service } },
  };
}
