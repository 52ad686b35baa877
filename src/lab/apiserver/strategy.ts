/**
 * What is particular to a kind on a write: defaults, checks, and what a create or an update may not carry over.
 * Sources: pkg/registry/<group>/<resource>/strategy.go of Kubernetes 1.36.
 */
import type { IPFamily } from './addresses.ts';
import { checkEvent } from './event-validation.ts';
import type { PodObject, ServiceCIDRObject, ServiceObject, SliceObject } from './kinds.ts';
import { isSameJson, type KubeObject } from './objects.ts';
import { checkServiceCIDR, checkServiceCIDRUpdate } from './service-cidr-validation.ts';
import { setServiceDefaults } from './service-defaults.ts';
import { checkService, checkServiceUpdate } from './service-validation.ts';
import { checkSlice, checkSliceUpdate } from './slice-validation.ts';
import type { StatusCause } from './status.ts';

export interface StrategyContext {
  /** IP families of the service CIDRs, the default one first. */
  readonly families: readonly IPFamily[];
  /** The status that the client sent with a create stays. */
  readonly keepStatus: boolean;
}

export interface Strategy {
  /** Completes the object in place; `old` is the stored one of an update. */
  setDefaults?(object: KubeObject, old: KubeObject | undefined, context: StrategyContext): void;
  /** What is wrong with the completed object. */
  check?(object: KubeObject, old: KubeObject | undefined, context: StrategyContext): StatusCause[];
}

const service: Strategy = {
  setDefaults(object, old, context) {
    setServiceDefaults(object as ServiceObject, old as ServiceObject | undefined, context.families);
    if (old === undefined && !context.keepStatus) object.status = { loadBalancer: {} };
    object.status ??= { loadBalancer: {} };
  },
  check(object, old, context) {
    const checked = object as ServiceObject;
    const changed = old === undefined ? [] : checkServiceUpdate(checked, old as ServiceObject);
    return [...changed, ...checkService(checked, context.families)];
  },
};

/** Go writes both lists even when they are nil: `null`. */
const endpointSlice: Strategy = {
  setDefaults(object, old) {
    const slice = object as SliceObject;
    slice.addressType ??= '';
    slice.endpoints ??= null;
    slice.ports ??= null;
    for (const port of slice.ports ?? []) {
      port.name ??= '';
      port.protocol ??= 'TCP';
    }
    if (old === undefined) {
      slice.metadata.generation = 1;
      return;
    }
    const content = (from: KubeObject): unknown => ({ ...from, metadata: { labels: from.metadata.labels } });
    slice.metadata.generation = (old.metadata.generation ?? 1) + (isSameJson(content(slice), content(old)) ? 0 : 1);
  },
  check(object, old) {
    const slice = object as SliceObject;
    return [...(old === undefined ? [] : checkSliceUpdate(slice, old as SliceObject)), ...checkSlice(slice)];
  },
};

const namespace: Strategy = {
  setDefaults(object, old, context) {
    const { metadata } = object;
    metadata.labels = { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name ?? '' };
    if (old !== undefined) {
      object.spec ??= old.spec;
      return;
    }
    object.spec = { finalizers: ['kubernetes'] };
    if (!context.keepStatus || object.status === undefined) object.status = { phase: 'Active' };
  },
};

const podSpecDefaults = {
  restartPolicy: 'Always',
  terminationGracePeriodSeconds: 30,
  dnsPolicy: 'ClusterFirst',
  securityContext: {},
  schedulerName: 'default-scheduler',
  enableServiceLinks: true,
};

const containerDefaults = {
  resources: {},
  terminationMessagePath: '/dev/termination-log',
  terminationMessagePolicy: 'File',
  imagePullPolicy: 'IfNotPresent',
};

const pod: Strategy = {
  setDefaults(object, old, context) {
    const { spec, status } = object as PodObject;
    const withDefaults: NonNullable<PodObject['spec']> = { ...podSpecDefaults, ...spec };
    for (const list of ['containers', 'initContainers'] as const) {
      const containers = withDefaults[list]?.map(container => ({
        ...containerDefaults,
        ...container,
        ...(container.ports && { ports: container.ports.map(port => ({ protocol: 'TCP', ...port })) }),
      }));
      if (containers !== undefined) withDefaults[list] = containers;
    }
    object.spec = withDefaults;
    if (old === undefined)
      object.status = context.keepStatus && status ? status : { phase: 'Pending', qosClass: 'BestEffort' };
  },
};

const node: Strategy = {
  setDefaults(object) {
    object.spec ??= {};
    object.status ??= {};
  },
};

const secret: Strategy = {
  setDefaults(object) {
    object.type ??= 'Opaque';
    const texts = object.stringData;
    if (typeof texts !== 'object' || texts === null) return;
    const encoded = Object.entries(texts).map(([key, text]) => [key, Buffer.from(String(text)).toString('base64')]);
    object.data = { ...(object.data as object | undefined), ...Object.fromEntries(encoded) };
    object.stringData = undefined;
  },
};

const endpoints: Strategy = {
  setDefaults(object) {
    const subsets = object.subsets as { ports?: { protocol?: string }[] }[] | undefined;
    for (const port of (subsets ?? []).flatMap(subset => subset.ports ?? [])) port.protocol ??= 'TCP';
  },
};

const serviceCIDR: Strategy = {
  setDefaults(object, old, context) {
    object.spec ??= {};
    if (old === undefined && !context.keepStatus) object.status = {};
    object.status ??= {};
  },
  check(object, old) {
    const checked = object as ServiceCIDRObject;
    const changed = old === undefined ? [] : checkServiceCIDRUpdate(checked, old as ServiceCIDRObject);
    return [...changed, ...checkServiceCIDR(checked)];
  },
};

const strategies: ReadonlyMap<string, Strategy> = new Map([
  ['services', service],
  ['endpointslices', endpointSlice],
  ['servicecidrs', serviceCIDR],
  ['namespaces', namespace],
  ['pods', pod],
  ['nodes', node],
  ['secrets', secret],
  ['endpoints', endpoints],
  ['events', { check: checkEvent }],
]);

/** The strategy of a resource; kinds without one pass as they are. */
export function strategyOf(id: string): Strategy {
  return strategies.get(id) ?? {};
}
