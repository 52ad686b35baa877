import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { categorize, reachableEndpoints } from '../../src/endpoints/categorize.ts';
import { type Endpoint, endpointText } from '../../src/endpoints/types.ts';
import { servicePort } from '../fakes/objects.ts';

interface TopologyCase {
  name: string;
  preferSameNodeEnabled: boolean;
  node: { name: string; labels: Record<string, string> };
  service: { internalPolicyLocal: boolean; externalPolicyLocal: boolean; nodePort: number };
  endpoints: {
    endpoint: string;
    ready: boolean;
    serving: boolean;
    terminating: boolean;
    isLocal: boolean;
    zoneHints?: string[];
    nodeHints?: string[];
  }[];
  expect: {
    clusterEndpoints: string[] | null;
    localEndpoints: string[] | null;
    allEndpoints: string[] | null;
    hasAnyEndpoints: boolean;
    onlyRemoteEndpoints: boolean;
  };
}

const { cases } = JSON.parse(readFileSync(new URL('./vectors/topology.json', import.meta.url), 'utf8')) as {
  cases: TopologyCase[];
};

const texts = (endpoints: readonly Endpoint[]) => endpoints.map(endpointText).sort();

describe('topology.json', () => {
  it.each(cases.map(c => [c.name, c] as const))('%s', (_name, c) => {
    const endpoints = c.endpoints.map((source): Endpoint => {
      const [ip = '', port] = source.endpoint.split(':');
      return {
        ip,
        port: Number(port),
        isReady: source.ready,
        isServing: source.serving,
        isTerminating: source.terminating,
        isLocal: source.isLocal,
        // A case that says preferSameNodeEnabled: false describes a kube-proxy that ignores node hints.
        nodeHints: c.preferSameNodeEnabled ? (source.nodeHints ?? []) : [],
        zoneHints: source.zoneHints ?? [],
      };
    });
    const port = servicePort({
      isInternalLocal: c.service.internalPolicyLocal,
      isExternalLocal: c.service.externalPolicyLocal,
      nodePort: c.service.nodePort,
    });
    const zone = c.node.labels['topology.kubernetes.io/zone'] ?? '';
    const found = categorize(endpoints, port, { name: c.node.name, zone });
    expect({
      clusterEndpoints: texts(found.clusterEndpoints),
      localEndpoints: texts(found.localEndpoints),
      allEndpoints: texts(reachableEndpoints(found)),
      hasAnyEndpoints: found.hasAnyEndpoints,
      onlyRemoteEndpoints: found.hasAnyEndpoints && reachableEndpoints(found).length === 0,
    }).toEqual({
      ...c.expect,
      clusterEndpoints: (c.expect.clusterEndpoints ?? []).toSorted(),
      localEndpoints: (c.expect.localEndpoints ?? []).toSorted(),
      allEndpoints: (c.expect.allEndpoints ?? []).toSorted(),
    });
  });
});
