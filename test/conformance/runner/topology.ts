/** The schema topology: which endpoints a node uses for a Service, through `categorize`. */
import { categorize, reachableEndpoints } from '../../../src/endpoints/categorize.ts';
import { type Endpoint, endpointText } from '../../../src/endpoints/types.ts';
import { servicePort } from '../../fakes/objects.ts';
import { parseEndpoint } from './endpoint-text.ts';
import { compared, failed, type Result } from './result.ts';
import { messageOf } from './vector-files.ts';

export interface TopologyCase {
  readonly name: string;
  readonly preferSameNodeEnabled: boolean;
  readonly node: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly service: { internalPolicyLocal?: boolean; externalPolicyLocal?: boolean; nodePort?: number };
  readonly endpoints: readonly {
    readonly endpoint: string;
    readonly ready: boolean;
    readonly serving: boolean;
    readonly terminating: boolean;
    readonly isLocal: boolean;
    readonly zoneHints?: readonly string[];
    readonly nodeHints?: readonly string[];
  }[];
  readonly expect: {
    readonly clusterEndpoints: readonly string[] | null;
    readonly localEndpoints: readonly string[] | null;
    readonly allEndpoints: readonly string[] | null;
    readonly hasAnyEndpoints: boolean;
    readonly onlyRemoteEndpoints: boolean;
  };
}

const ZONE = 'topology.kubernetes.io/zone';

export function runTopology(item: TopologyCase): Result {
  try {
    return compared(item.name, wanted(item.expect), seen(item));
  } catch (error) {
    return failed(item.name, messageOf(error));
  }
}

function seen({ node, service, endpoints, preferSameNodeEnabled }: TopologyCase): object {
  const port = servicePort({
    isInternalLocal: service.internalPolicyLocal ?? false,
    isExternalLocal: service.externalPolicyLocal ?? false,
    nodePort: service.nodePort ?? 0,
  });
  const all = endpoints.map((source): Endpoint => {
    const { ip, port: number } = parseEndpoint(source.endpoint);
    return {
      ip,
      port: number,
      isReady: source.ready,
      isServing: source.serving,
      isTerminating: source.terminating,
      isLocal: source.isLocal,
      mayBeLocal: source.isLocal,
      // A case that says preferSameNodeEnabled: false describes a kube-proxy that ignores node hints.
      nodeHints: preferSameNodeEnabled ? (source.nodeHints ?? []) : [],
      zoneHints: source.zoneHints ?? [],
    };
  });
  const found = categorize(all, port, { name: node.name, zone: node.labels?.[ZONE] ?? '' });
  const reachable = reachableEndpoints(found);
  return {
    clusterEndpoints: found.clusterEndpoints.map(endpointText).toSorted(),
    localEndpoints: found.localEndpoints.map(endpointText).toSorted(),
    allEndpoints: reachable.map(endpointText).toSorted(),
    hasAnyEndpoints: found.hasAnyEndpoints,
    onlyRemoteEndpoints: found.hasAnyEndpoints && reachable.length === 0,
  };
}

/** null = this kind is unused: as good as empty. */
function wanted(expect: TopologyCase['expect']): object {
  const texts = (list: readonly string[] | null) => (list ?? []).map(text => parseEndpoint(text).text).toSorted();
  const { clusterEndpoints, localEndpoints, allEndpoints, ...rest } = expect;
  return {
    ...rest,
    clusterEndpoints: texts(clusterEndpoints),
    localEndpoints: texts(localEndpoints),
    allEndpoints: texts(allEndpoints),
  };
}
