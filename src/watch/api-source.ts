import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { type Clock, systemClock } from './clock.ts';
import { type EndpointsSource, EndpointsWatch } from './endpoints-watch.ts';
import { anonymousKubeConfig, loadKubeConfig, type Place } from './kubeconfig.ts';
import type { Log } from './log.ts';
import type { Kind, Node, ObjectByKind, Service } from './objects.ts';
import { OptionalWatch } from './optional-watch.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import type { ReflectorStats } from './reflector-stats.ts';
import type { Resource } from './resource.ts';
import { ServerContact } from './server-contact.ts';
import type { Store } from './store.ts';
import { storeTarget } from './store-target.ts';
import { HttpTransport, type SendChange } from './transport.ts';
import { type EndpointTrimming, TRIMMERS } from './trim.ts';

export interface ApiSourceOptions {
  /** Without it and kubeConfig: `server` without credentials, or the service account of the pod we run in. */
  readonly kubeconfigPath?: string;
  readonly kubeConfig?: KubeConfig;
  /** Where the service account is looked for. */
  readonly place?: Place;
  /** Takes the place of the kubeconfig's server URL. */
  readonly server?: string;
  /** Default `auto`. */
  readonly endpointsFrom?: EndpointsSource;
  /** Our Node: only that one is watched (of thousands, whose status changes all the time). Without it all are. */
  readonly nodeName?: string;
  /** What else is watched, where the server has it and lets us see it (ServiceCIDRs: Kubernetes 1.33). Default none. */
  readonly optional?: readonly OptionalKind[];
  /** What of endpoints is kept; default what every consumer needs. */
  readonly trimming?: EndpointTrimming;
  readonly store: Store;
  readonly log: Log;
  readonly userAgent?: string;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly signal: AbortSignal;
}

/** What not everybody needs: `Store.synced` doesn't wait for it. */
export type OptionalKind = 'ServiceCIDR' | 'Namespace' | 'Pod';

/** Of the optional ones only while they are watched and the server has them. */
export type SourceStats = { readonly [K in Exclude<Kind, OptionalKind>]: ReflectorStats } & {
  readonly [K in OptionalKind]?: ReflectorStats;
};

/** A running source. */
export interface ApiSource extends AsyncDisposable {
  /** What happened so far, per kind; for metrics. */
  readonly stats: SourceStats;
  /** Since when something of it cannot be listed or watched, in the clock's milliseconds (Date.now()); 0 when all can. */
  readonly failingSinceMs: number;
  /** Changes something on the same server, with the same credentials. */
  readonly send: SendChange;
}

/** One watch per kind for all consumers: filtering is the Model's, not a selector's (but for the Node). */
const SERVICES: Resource<Service> = { kind: 'Service', path: '/api/v1/services', trim: TRIMMERS.Service };
const NODES: Resource<Node> = { kind: 'Node', path: '/api/v1/nodes', trim: TRIMMERS.Node };
const OPTIONAL: { readonly [K in OptionalKind]: Resource<ObjectByKind[K]> } = {
  ServiceCIDR: {
    kind: 'ServiceCIDR',
    path: '/apis/networking.k8s.io/v1/servicecidrs',
    trim: TRIMMERS.ServiceCIDR,
  },
  Namespace: { kind: 'Namespace', path: '/api/v1/namespaces', trim: TRIMMERS.Namespace },
  Pod: {
    kind: 'Pod',
    path: '/api/v1/pods',
    query: { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown' },
    trim: TRIMMERS.Pod,
  },
};
/** What every server has, and nothing can be programmed without. */
const KINDS: readonly Kind[] = ['Service', 'EndpointSlice', 'Node'];
const OPTIONAL_KINDS: readonly OptionalKind[] = ['ServiceCIDR', 'Namespace', 'Pod'];

function configLoader({ kubeConfig, kubeconfigPath, place, server }: ApiSourceOptions): () => KubeConfig {
  if (kubeConfig !== undefined) return () => kubeConfig;
  if (kubeconfigPath === undefined && server !== undefined) return () => anonymousKubeConfig(server);
  return () => loadKubeConfig(kubeconfigPath, place);
}

function optionalWatch<K extends OptionalKind>(
  kind: K,
  store: Store,
  common: Omit<ReflectorOptions<never>, 'resource' | 'target'>,
): OptionalWatch<ObjectByKind[K]> | Reflector<ObjectByKind[K]> {
  const options = { ...common, resource: OPTIONAL[kind], target: storeTarget(store, kind) };
  // Without Pods all their names were denied: nobody is told of that, so that is a failure.
  return kind === 'Pod' ? new Reflector(options) : new OptionalWatch(options);
}

/**
 * Lists and watches Services, EndpointSlices and Nodes of an API server into the store, until the signal is aborted; others
 * too when asked to, which `Store.synced` doesn't wait for. Throws an Error when the kubeconfig cannot be read; a server that doesn't answer is tried again for ever.
 */
export async function startApiSource(options: ApiSourceOptions): Promise<ApiSource> {
  const { store, log, signal, server, clock = systemClock, random = Math.random } = options;
  const { userAgent = 'kproxy-ts', nodeName, endpointsFrom = 'auto', optional = [], trimming } = options;
  const transport = new HttpTransport({ loadKubeConfig: configLoader(options), server, userAgent, clock });
  const contact = new ServerContact({ clock, log, collections: KINDS.length });
  const common = { transport, contact, clock, random, log, signal };
  const query = nodeName === undefined ? {} : { fieldSelector: `metadata.name=${nodeName}` };
  const reflectors = {
    Service: new Reflector({ ...common, resource: SERVICES, target: storeTarget(store, 'Service') }),
    EndpointSlice: new EndpointsWatch({ from: endpointsFrom, store, trimming, reflector: common }),
    Node: new Reflector({ ...common, resource: { ...NODES, query }, target: storeTarget(store, 'Node') }),
  };
  const optionals = optional.map(kind => ({ kind, watch: optionalWatch(kind, store, common) }));
  store.announce(KINDS);
  // A source before this one may have left some.
  for (const kind of OPTIONAL_KINDS) if (!optional.includes(kind)) store.replace(kind, []);
  const watches = [...Object.values(reflectors), ...optionals.map(({ watch }) => watch)];
  for (const watch of watches) watch.start();
  return {
    get stats() {
      const { Service, EndpointSlice, Node } = reflectors;
      const entries = optionals.flatMap(({ kind, watch: { stats } }) => (stats === undefined ? [] : [[kind, stats]]));
      return {
        Service: Service.stats,
        EndpointSlice: EndpointSlice.stats,
        Node: Node.stats,
        ...(Object.fromEntries(entries) as Partial<SourceStats>),
      };
    },
    get failingSinceMs() {
      return contact.failingSinceMs;
    },
    send: (change, changeSignal) => transport.send(change, changeSignal),
    async [Symbol.asyncDispose]() {
      await Promise.all(watches.map(watch => watch[Symbol.asyncDispose]()));
      await transport[Symbol.asyncDispose]();
    },
  };
}
