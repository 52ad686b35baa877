/** Groups that count endpoints of this node: for health checks, and for the metric of Services that have none here. */
import { Registry } from 'prom-client';
import { localReadyAddresses } from '../../../../src/endpoints/health-checks.ts';
import { addModelMetrics } from '../../../../src/metric-readings.ts';
import { compared, type Result } from '../result.ts';
import type { Fields } from '../vector-files.ts';
import { casesOf } from './cases.ts';
import { modelOf, serviceObject, sliceObject } from './model.ts';

const PORT = { name: 'p', port: 80, protocol: 'TCP' };
const SERVICE = 'web';

/** A load balancer's Service with policies, and its endpoints in one slice. */
function objectsOf(policies: object, endpoints: readonly object[]): unknown[] {
  const spec = { type: 'LoadBalancer', clusterIP: '172.30.1.1', ports: [{ ...PORT, nodePort: 30080 }], ...policies };
  const addressed = endpoints.map((endpoint, index) => ({ addresses: [`10.0.1.${index + 1}`], ...endpoint }));
  const slice = { name: `${SERVICE}-1`, endpoints: addressed, ports: [PORT] };
  return [serviceObject(SERVICE, spec, ['1.2.3.4']), sliceObject(SERVICE, slice)];
}

interface ReadyCase {
  readonly localEndpoints: readonly object[];
  readonly servicesWithLocalReady: number;
}

export function playLocalReady(group: Fields): Result[] {
  const nodeName = 'node';
  return casesOf<ReadyCase>(group).map(({ localEndpoints, servicesWithLocalReady }, index) => {
    const endpoints = localEndpoints.map(conditions => ({ conditions, nodeName }));
    const policies = { externalTrafficPolicy: 'Local', healthCheckNodePort: 30000 };
    const count = localReadyAddresses(modelOf(objectsOf(policies, endpoints), nodeName), `default/${SERVICE}`);
    return compared(`case ${index + 1}`, servicesWithLocalReady, count > 0 ? 1 : 0);
  });
}

interface NoLocalCase {
  readonly name: string;
  readonly internalTrafficPolicy: string | null;
  readonly externalTrafficPolicy: string | null;
  readonly endpointNodes: readonly string[];
  readonly expect: { readonly internal: number; readonly external: number };
}

export async function playNoLocalMetric(group: Fields): Promise<Result[]> {
  const nodeName = String(group.nodeName);
  const cases = casesOf<NoLocalCase>(group);
  return Promise.all(
    cases.map(async ({ name, internalTrafficPolicy, externalTrafficPolicy, endpointNodes, expect }) => {
      const set = Object.entries({ internalTrafficPolicy, externalTrafficPolicy }).filter(
        ([, value]) => value !== null,
      );
      const endpoints = endpointNodes.map(endpointNode => ({ nodeName: endpointNode }));
      const model = modelOf(objectsOf(Object.fromEntries(set), endpoints), nodeName);
      const registry = new Registry();
      addModelMetrics(registry, () => [model]);
      const found = await registry.getSingleMetric(String(group.metric))?.get();
      const values = (found?.values ?? []).map(({ labels, value }) => [String(labels.traffic_policy), value] as const);
      return compared(name, expect, Object.fromEntries(values));
    }),
  );
}
