/**
 * The EndpointSlice controller: keeps the slices of Services with selectors in step with the Pods. Level-triggered:
 * a change only marks Services; the sync compares what should be with what is, and writes the difference.
 * Source: pkg/controller/endpointslice/endpointslice_controller.go.
 */
import { planSlices, type SliceContent } from './endpointslices.ts';
import type { StoreEvent } from './history.ts';
import type { PodObject, ServiceObject, SliceObject } from './kinds.ts';
import { randomSuffix } from './metadata.ts';
import { isSameJson, type KubeObjectInput, keyOf, type StoredObject } from './objects.ts';
import { matchesLabels } from './selectors.ts';
import { isHeadless } from './service-defaults.ts';
import { StatusError } from './status.ts';
import type { Store } from './store.ts';

const serviceNameLabel = 'kubernetes.io/service-name';
const managedByLabel = 'endpointslice.kubernetes.io/managed-by';
const controllerName = 'endpointslice-controller.k8s.io';
const headlessLabel = 'service.kubernetes.io/headless';
const zoneLabel = 'topology.kubernetes.io/zone';

export interface EndpointSliceControllerOptions {
  readonly store: Store;
  /** Called with an error of a sync; the Service is tried again at its next change. Default: it is thrown. */
  readonly onError?: (error: unknown, service: string) => void;
  /** Ends the controller; what it wrote stays. */
  readonly signal: AbortSignal;
}

/** A running controller. */
export interface EndpointSliceController {
  /** Brings everything that is marked up to date now, instead of in the next turn of the event loop. */
  sync(): void;
}

type Service = ServiceObject & { metadata: { name: string; namespace: string } };

class Controller implements EndpointSliceController {
  readonly #store: Store;
  readonly #onError: (error: unknown, service: string) => void;
  /** Keys of Services with selectors, by namespace, so that a Pod's event needn't look at all Services. */
  readonly #selecting = new Map<string, Set<string>>();
  /** Keys of our slices by the key of their Service. */
  readonly #slices = new Map<string, Set<string>>();
  readonly #marked = new Set<string>();
  readonly #unsubscribe: (() => void)[] = [];
  #isScheduled = false;
  #isStopped = false;

  constructor({ store, onError, signal }: EndpointSliceControllerOptions) {
    this.#store = store;
    this.#onError =
      onError ??
      (error => {
        throw error;
      });
    for (const slice of store.list('endpointslices')) this.#noteSlice(slice, true);
    for (const service of store.list('services')) this.#noteService(service, true);
    this.#unsubscribe.push(
      store.subscribe('services', event => this.#noteService(event.current.object, event.type !== 'DELETED')),
      store.subscribe('pods', event => this.#notePod(event)),
      store.subscribe('endpointslices', event => this.#noteSlice(event.current.object, event.type !== 'DELETED')),
      store.subscribe('nodes', event => this.#noteNode(event)),
    );
    signal.addEventListener('abort', () => this.#stop(), { once: true });
    if (signal.aborted) this.#stop();
  }

  sync(): void {
    const keys = [...this.#marked];
    this.#marked.clear();
    for (const key of keys) {
      try {
        this.#syncService(key);
      } catch (error) {
        this.#onError(error, key);
      }
    }
  }

  #stop(): void {
    this.#isStopped = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }

  #mark(key: string): void {
    this.#marked.add(key);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.#isStopped) this.sync();
    });
  }

  #noteService(service: StoredObject, exists: boolean): void {
    const { namespace = '', name = '' } = service.metadata;
    const key = keyOf(namespace, name);
    const keys = this.#selecting.get(namespace) ?? new Set();
    if (exists && hasSelector(service as ServiceObject)) keys.add(key);
    else keys.delete(key);
    if (keys.size === 0) this.#selecting.delete(namespace);
    else this.#selecting.set(namespace, keys);
    if (keys.has(key) || this.#slices.has(key)) this.#mark(key);
  }

  #noteSlice(slice: StoredObject, exists: boolean): void {
    const labels = slice.metadata.labels ?? {};
    if (labels[managedByLabel] !== controllerName) return;
    const { namespace = '', name = '' } = slice.metadata;
    const service = keyOf(namespace, labels[serviceNameLabel] ?? '');
    const keys = this.#slices.get(service) ?? new Set();
    if (exists) keys.add(name);
    else keys.delete(name);
    if (keys.size === 0) this.#slices.delete(service);
    else this.#slices.set(service, keys);
    this.#mark(service);
  }

  #notePod({ current, previous }: StoreEvent): void {
    const { namespace = '' } = current.object.metadata;
    for (const key of this.#selecting.get(namespace) ?? []) {
      const selector = this.#service(key)?.spec.selector ?? {};
      const isSelected = [current, previous].some(version => version && matchesLabels(selector, version.object));
      if (isSelected) this.#mark(key);
    }
  }

  /** Only the zone of a Node counts; which Services have Pods there isn't kept. */
  #noteNode({ current, previous }: StoreEvent): void {
    const zone = current.object.metadata.labels?.[zoneLabel];
    if (previous !== undefined && zone === previous.object.metadata.labels?.[zoneLabel]) return;
    for (const keys of this.#selecting.values()) for (const key of keys) this.#mark(key);
  }

  #service(key: string): Service | undefined {
    return this.#store.collection('services').get(key)?.object as Service | undefined;
  }

  #syncService(key: string): void {
    const service = this.#service(key);
    const namespace = key.slice(0, key.indexOf('/'));
    const existing = [...(this.#slices.get(key) ?? [])]
      .map(name => this.#store.get('endpointslices', namespace, name) as SliceObject | undefined)
      .filter(slice => slice !== undefined);
    const isWanted = service !== undefined && hasSelector(service);
    const plans = isWanted
      ? planSlices({ service, pods: this.#podsOf(service), zoneOf: name => this.#zoneOf(name) })
      : [];
    // A Service that lost its selector keeps its slices, as on a real cluster; they belong to the user then.
    if (service !== undefined && !isWanted) return;
    const unused = new Set(existing);
    const unmatched: SliceContent[] = [];
    for (const plan of plans) {
      const same = [...unused].find(slice => hasContent(slice, plan));
      if (same === undefined) unmatched.push(plan);
      else unused.delete(same);
      if (same !== undefined && service !== undefined) this.#write(service, plan, same);
    }
    for (const plan of unmatched) {
      const target = [...unused].find(slice => slice.addressType === plan.addressType);
      if (target !== undefined) unused.delete(target);
      if (service !== undefined) this.#write(service, plan, target);
    }
    for (const slice of unused) this.#delete(slice);
  }

  #podsOf(service: Service): PodObject[] {
    const selector = service.spec.selector ?? {};
    const pods = this.#store.list('pods', service.metadata.namespace);
    return pods.filter(pod => matchesLabels(selector, pod)) as PodObject[];
  }

  #zoneOf(nodeName: string): string {
    return this.#store.get('nodes', '', nodeName)?.metadata.labels?.[zoneLabel] ?? '';
  }

  #write(service: Service, plan: SliceContent, current: SliceObject | undefined): void {
    const { namespace, name } = service.metadata;
    const wanted = sliceObject(service, plan);
    if (current === undefined) {
      const metadata = { ...wanted.metadata, name: `${name}-${randomSuffix()}` };
      this.#store.create('endpointslices', namespace, { ...wanted, metadata });
      return;
    }
    const metadata = { ...current.metadata, ...wanted.metadata };
    this.#store.update('endpointslices', namespace, current.metadata.name ?? '', { ...wanted, metadata });
  }

  #delete(slice: SliceObject): void {
    const { namespace = '', name = '' } = slice.metadata;
    try {
      this.#store.delete('endpointslices', namespace, name);
    } catch (error) {
      if (!(error instanceof StatusError && error.code === 404)) throw error;
    }
  }
}

function hasSelector(service: ServiceObject): boolean {
  return Object.keys(service.spec.selector ?? {}).length > 0 && service.spec.type !== 'ExternalName';
}

function hasContent(slice: SliceObject, plan: SliceContent): boolean {
  return (
    slice.addressType === plan.addressType &&
    isSameJson(slice.ports ?? [], plan.ports) &&
    isSameJson(slice.endpoints ?? [], plan.endpoints)
  );
}

function sliceObject(service: Service, plan: SliceContent): KubeObjectInput {
  const { name, uid = '', labels = {} } = service.metadata;
  const owner = { apiVersion: 'v1', kind: 'Service', name, uid, controller: true, blockOwnerDeletion: true };
  return {
    metadata: {
      labels: {
        ...labels,
        [serviceNameLabel]: name,
        [managedByLabel]: controllerName,
        ...(isHeadless(service.spec) ? { [headlessLabel]: '' } : {}),
      },
      ownerReferences: [owner],
    },
    addressType: plan.addressType,
    endpoints: [...plan.endpoints],
    ports: [...plan.ports],
  };
}

/** Starts the controller on a store; it brings the existing Services up to date in the next turn of the event loop. */
export function startEndpointSliceController(options: EndpointSliceControllerOptions): EndpointSliceController {
  return new Controller(options);
}
