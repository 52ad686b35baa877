import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { type Clock, systemClock } from './clock.ts';
import { anonymousKubeConfig, loadKubeConfig } from './kubeconfig.ts';
import type { Log } from './log.ts';
import type { Kind, ObjectByKind, Problem } from './objects.ts';
import { Reflector } from './reflector.ts';
import type { ReflectorStats } from './reflector-stats.ts';
import type { ReflectorTarget, Resource } from './resource.ts';
import { ServerContact } from './server-contact.ts';
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
  /** Since when something of it cannot be listed or watched, in the clock's milliseconds (Date.now()); 0 when all can. */
  readonly failingSinceMs: number;
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

const KINDS: readonly Kind[] = ['Service', 'EndpointSlice', 'Node'];

/** Puts what a Reflector sees into the store. */
export function storeTarget<K extends Kind>(store: Store, kind: K): ReflectorTarget<ObjectByKind[K]> {
  return {
    replace(list) {
      const objects: ObjectByKind[K][] = [];
      const problems: Problem[] = [];
      const unchanged = new Set<string>();
      for (const listed of list) {
        if (listed.isUnchanged) unchanged.add(listed.key);
        else {
          if (listed.object !== undefined) objects.push(listed.object);
          problems.push(...listed.problems);
        }
      }
      store.replace(kind, objects, { problems, unchanged });
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
  const contact = new ServerContact({ clock, log, kinds: KINDS });
  const start = <K extends Kind>(kind: K, query: Record<string, string> = {}) => {
    const resource = { ...RESOURCES[kind], query };
    return new Reflector({
      resource,
      target: storeTarget(store, kind),
      transport,
      contact,
      clock,
      random,
      log,
      signal,
    });
  };
  const ourNode = nodeName === undefined ? {} : { fieldSelector: `metadata.name=${nodeName}` };
  const reflectors = { Service: start('Service'), EndpointSlice: start('EndpointSlice'), Node: start('Node', ourNode) };
  store.announce(KINDS);
  for (const reflector of Object.values(reflectors)) reflector.start();
  return {
    get stats() {
      const { Service, EndpointSlice, Node } = reflectors;
      return { Service: Service.stats, EndpointSlice: EndpointSlice.stats, Node: Node.stats };
    },
    get failingSinceMs() {
      return contact.failingSinceMs;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(Object.values(reflectors).map(reflector => reflector[Symbol.asyncDispose]()));
      await transport[Symbol.asyncDispose]();
    },
  };
}
