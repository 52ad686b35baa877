import { Map as ImmutableMap } from 'immutable';
import type { EndpointSlice } from '../../src/watch/objects.ts';
import type { Snapshot } from '../../src/watch/snapshot.ts';
import { service, slice, sliceEndpoint } from '../../test/fakes/objects.ts';

export const NODE = { name: 'node-0', zone: '' };
export const ENDPOINTS = 10;

/** The n-th of the pod addresses, counted on past the octets. */
function podIP(n: number): string {
  return `10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
}

export const keyOf = (i: number) => ({ namespace: `bench-${i % 10}`, name: `svc-${i}` });

/** The addresses of Service i's endpoints. */
export function endpointsOf(i: number, count = ENDPOINTS): string[] {
  return Array.from({ length: count }, (_, j) => podIP(i * count + j));
}

/** The slice of Service i with these endpoints. */
export function sliceWith(i: number, addresses: readonly string[]): EndpointSlice {
  const { namespace, name } = keyOf(i);
  const endpoints = addresses.map((ip, j) => sliceEndpoint(ip, { nodeName: `node-${j % 50}` }));
  return slice({ namespace, name: `${name}-a`, serviceName: name, endpoints });
}

/** The slice of Service i; `revision` replaces its last endpoint. */
export function sliceOf(i: number, revision = 0, count = ENDPOINTS): EndpointSlice {
  const addresses = endpointsOf(i, count);
  if (revision > 0) addresses.splice(-1, 1, `10.64.${revision >> 8}.${revision & 255}`);
  return sliceWith(i, addresses);
}

/** A cluster of so many Services of so many endpoints. */
export function clusterOf(services: number, endpoints = ENDPOINTS): Snapshot {
  const indexes = Array.from({ length: services }, (_, i) => i);
  const key = (i: number) => `${keyOf(i).namespace}/${keyOf(i).name}`;
  return {
    services: ImmutableMap(
      indexes.map(i => [
        key(i),
        service({ ...keyOf(i), clusterIPs: [`10.${96 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`] }),
      ]),
    ),
    slices: ImmutableMap(indexes.map(i => [key(i), ImmutableMap([['a', sliceOf(i, 0, endpoints)]])])),
    serviceCIDRs: [],
    nodes: ImmutableMap(),
    namespaces: ImmutableMap(),
    pods: ImmutableMap(),
  };
}

/** The same cluster with another revision of one slice. */
export function withRevision(cluster: Snapshot, i: number, revision: number): { cluster: Snapshot; dirty: string } {
  const dirty = `${keyOf(i).namespace}/${keyOf(i).name}`;
  return {
    dirty,
    cluster: { ...cluster, slices: cluster.slices.set(dirty, ImmutableMap([['a', sliceOf(i, revision)]])) },
  };
}
