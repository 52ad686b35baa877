import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { type Clock, systemClock } from './clock.ts';
import { anonymousKubeConfig, loadKubeConfig } from './kubeconfig.ts';
import type { Log } from './log.ts';
import type { Kind, ObjectByKind, Problem } from './objects.ts';
import { Reflector, type ReflectorStats } from './reflector.ts';
import type { ReflectorTarget, Resource } from './resource.ts';
import type { Store } from './store.ts';
import { HttpTransport } from './transport.ts';
import type { Trimmed } from './trim.ts';
import { TRIMMERS } from './trim.ts';

export interface ApiSourceOptions {
  /** Without it and kubeConfig: `server` without credentials, or the service account of the pod we run in. */
  readonly kubeconfigPath?: string;
  readonly kubeConfig?: KubeConfig;
  /** Takes the place of the kubeconfig's server URL. */
  readonly server?: string;
  /** Default `auto`. */
  readonly endpointsFrom?: EndpointsSource;
  /** Our Node: only that one is watched (of thousands, whose status changes all the time). Without it all are. */
  readonly nodeName?: string;
  readonly store: Store;
  readonly log: Log;
  readonly userAgent?: string;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly signal: AbortSignal;
}

/** A running source. */
export interface ApiSource extends AsyncDisposable {
  /** What happened so far, per kind; for metrics. */
  readonly stats: { readonly [K in Kind]: ReflectorStats };
}

/** Where endpoints come from; `auto`: EndpointSlices, and Endpoints of a server that lacks discovery.k8s.io/v1. */
export type EndpointsSource = 'auto' | 'EndpointSlice' | 'Endpoints';

/** One watch per kind for all consumers: filtering is the Model's, not a selector's (but for the Node). */
const RESOURCES: { readonly [K in Kind]: Resource<ObjectByKind[K]> } = {
  Service: { kind: 'Service', path: '/api/v1/services', trim: TRIMMERS.Service },
  EndpointSlice: {
    kind: 'EndpointSlice',
    path: '/apis/discovery.k8s.io/v1/endpointslices',
    trim: TRIMMERS.EndpointSlice,
  },
  Node: { kind: 'Node', path: '/api/v1/nodes', trim: TRIMMERS.Node },
};

/** Puts what a Reflector sees into the store. */
export function storeTarget<K extends Kind>(store: Store, kind: K): ReflectorTarget<ObjectByKind[K]> {
  return {
    replace(list) {
      const objects: ObjectByKind[K][] = [];
      const problems: Problem[] = [];
      for (const trimmed of list) {
        if (trimmed.object !== undefined) objects.push(trimmed.object);
        problems.push(...trimmed.problems);
      }
      store.replace(kind, objects, problems);
      store.markSynced(kind);
    },
    accept: (trimmed: Trimmed<ObjectByKind[K]>) => store.accept(kind, trimmed),
    remove: key => store.remove(kind, key),
  };
}

function configLoader({ kubeConfig, kubeconfigPath, server }: ApiSourceOptions): () => KubeConfig {
  if (kubeConfig !== undefined) return () => kubeConfig;
  if (kubeconfigPath === undefined && server !== undefined) return () => anonymousKubeConfig(server);
  return () => loadKubeConfig(kubeconfigPath);
}

/**
 * Lists and watches Services, EndpointSlices and Nodes of an API server into the store, until the signal is aborted. Throws
 * an Error when the kubeconfig cannot be read; a server that doesn't answer is tried again for ever.
 */
export async function startApiSource(options: ApiSourceOptions): Promise<ApiSource> {
  const { store, log, signal, server, clock = systemClock, random = Math.random } = options;
  const { userAgent = 'kproxy-ts', nodeName } = options;
  const transport = new HttpTransport({ loadKubeConfig: configLoader(options), server, userAgent, clock });
  const start = <K extends Kind>(kind: K, query: Record<string, string> = {}) => {
    const resource = { ...RESOURCES[kind], query };
    return new Reflector({ resource, target: storeTarget(store, kind), transport, clock, random, log, signal });
  };
  const ourNode = nodeName === undefined ? {} : { fieldSelector: `metadata.name=${nodeName}` };
  const reflectors = { Service: start('Service'), EndpointSlice: start('EndpointSlice'), Node: start('Node', ourNode) };
  store.announce(['Service', 'EndpointSlice', 'Node']);
  for (const reflector of Object.values(reflectors)) reflector.start();
  return {
    get stats() {
      const { Service, EndpointSlice, Node } = reflectors;
      return { Service: Service.stats, EndpointSlice: EndpointSlice.stats, Node: Node.stats };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(Object.values(reflectors).map(reflector => reflector[Symbol.asyncDispose]()));
      await transport[Symbol.asyncDispose]();
    },
  };
}
