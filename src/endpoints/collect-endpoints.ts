import type { EndpointSlice, SliceEndpoint } from '../watch/objects.ts';
import type { Endpoint, NodeFacts, ServicePort } from './types.ts';

/**
 * The endpoints behind a ServicePort: the union of the Service's slices, each address and port once, sorted. Where two
 * slices hold the same endpoint (one leaves a slice while it enters another), the copy that isn't terminating wins, then
 * the ready one.
 */
export function collectEndpoints(slices: Iterable<EndpointSlice>, port: ServicePort, node: NodeFacts): Endpoint[] {
  const isIPv6 = port.clusterIP.includes(':');
  const found = new Map<string, Endpoint>();
  for (const slice of slices) {
    if (slice.isHeadless || (slice.family === 'IPv6') !== isIPv6) continue;
    for (const slicePort of slice.ports) {
      if (slicePort.name !== port.name.port || slicePort.protocol !== port.name.protocol) continue;
      for (const source of slice.endpoints) addEndpoint(found, source, slicePort.port, node);
    }
  }
  return [...found.values()].sort(compareEndpoints);
}

function addEndpoint(found: Map<string, Endpoint>, source: SliceEndpoint, port: number, node: NodeFacts): void {
  const ip = source.addresses[0];
  if (ip === undefined) return;
  const key = `${ip} ${port}`;
  const other = found.get(key);
  if (other !== undefined && !isPreferred(source, other)) return;
  found.set(key, {
    ip,
    port,
    isReady: source.ready,
    isServing: source.serving,
    isTerminating: source.terminating,
    isLocal: source.nodeName !== '' && source.nodeName === node.name,
    mayBeLocal: source.nodeName === '' || source.nodeName === node.name,
    nodeHints: source.nodeHints,
    zoneHints: source.zoneHints,
  });
}

function isPreferred(candidate: SliceEndpoint, other: Endpoint): boolean {
  if (candidate.terminating !== other.isTerminating) return !candidate.terminating;
  return candidate.ready && !other.isReady;
}

function compareEndpoints(a: Endpoint, b: Endpoint): number {
  return a.ip === b.ip ? a.port - b.port : a.ip < b.ip ? -1 : 1;
}
