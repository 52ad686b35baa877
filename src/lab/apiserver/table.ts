/**
 * The columns that `kubectl get` shows. Source: pkg/printers/internalversion/printers.go.
 * Priority 1 columns appear with `-o wide` only.
 */
import type { NodeObject, PodObject, ServiceCIDRObject, ServiceObject, SliceObject } from './kinds.ts';
import { isJsonObject, type JsonObject, type StoredObject, valueAt } from './objects.ts';
import type { Resource } from './resource.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

type Cell = (object: StoredObject, now: Date) => string | number;

interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer';
  readonly format: string;
  readonly description: string;
  readonly priority: number;
  readonly cell: Cell;
}

function column(name: string, cell: Cell, priority = 0): Column {
  return { name, type: 'string', format: name === 'Name' ? 'name' : '', description: '', priority, cell };
}

/** Age in the short form of duration.HumanDuration. */
export function humanDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const pair = (big: number, bigUnit: string, small: number, smallUnit: string): string =>
    small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit}${small}${smallUnit}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return pair(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  return `${Math.floor(days / 365)}y`;
}

const name = column('Name', object => object.metadata.name ?? '');

function ageSince(path: string, title: string): Column {
  return column(title, (object, now) => {
    const text = valueAt(object, path);
    return typeof text === 'string' ? humanDuration(now.getTime() - Date.parse(text)) : '<unknown>';
  });
}

const age = ageSince('metadata.creationTimestamp', 'Age');

function textAt(path: string, missing = '<none>'): Cell {
  return object => {
    const value = valueAt(object, path);
    return value === undefined || value === null || value === '' ? missing : String(value);
  };
}

function orNone(texts: readonly string[], most = texts.length): string {
  if (texts.length === 0) return '<none>';
  const more = texts.length > most ? ` + ${texts.length - most} more...` : '';
  return texts.slice(0, most).join(',') + more;
}

function countOf(field: string): Cell {
  return object => {
    const value = object[field];
    return isJsonObject(value) ? Object.keys(value).length : Array.isArray(value) ? value.length : 0;
  };
}

function externalIPs(object: StoredObject): string {
  const { spec, status } = object as ServiceObject;
  const ingress = (status?.loadBalancer?.ingress ?? []).map(entry => entry.ip ?? entry.hostname ?? '');
  const external = spec.externalIPs ?? [];
  if (spec.type === 'ExternalName') return spec.externalName ?? '<none>';
  if (spec.type !== 'LoadBalancer') return orNone(external);
  return [...ingress, ...external].join(',') || '<pending>';
}

function servicePorts(object: StoredObject): string {
  const ports = ((object as ServiceObject).spec.ports ?? []).map(
    ({ port, nodePort, protocol }) => `${port}${nodePort ? `:${nodePort}` : ''}/${protocol}`,
  );
  return orNone(ports);
}

function selector(object: StoredObject): string {
  return orNone(Object.entries((object as ServiceObject).spec.selector ?? {}).map(([key, value]) => `${key}=${value}`));
}

function isConditionTrue(conditions: readonly { type: string; status: string }[] | undefined, type: string): boolean {
  return conditions?.some(condition => condition.type === type && condition.status === 'True') ?? false;
}

function podStatus(object: StoredObject): string {
  const { status, metadata } = object as PodObject;
  return metadata.deletionTimestamp === undefined ? (status?.phase ?? 'Unknown') : 'Terminating';
}

function podReady(object: StoredObject): string {
  const { spec, status } = object as PodObject;
  const total = spec?.containers?.length ?? 0;
  const counted = status?.containerStatuses?.filter(container => container.ready).length;
  return `${counted ?? (isConditionTrue(status?.conditions, 'Ready') ? total : 0)}/${total}`;
}

function podRestarts(object: StoredObject): number {
  const statuses = (object as PodObject).status?.containerStatuses ?? [];
  return statuses.reduce((sum, { restartCount = 0 }) => sum + restartCount, 0);
}

function nodeStatus(object: StoredObject): string {
  const { spec, status } = object as NodeObject;
  const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status;
  const text = ready === undefined ? 'Unknown' : ready === 'True' ? 'Ready' : 'NotReady';
  return spec?.unschedulable === true ? `${text},SchedulingDisabled` : text;
}

function nodeRoles(object: StoredObject): string {
  const prefix = 'node-role.kubernetes.io/';
  const labels = Object.keys(object.metadata.labels ?? {}).filter(key => key.startsWith(prefix));
  return orNone(labels.map(key => key.slice(prefix.length)).sort());
}

function nodeAddress(type: string): Cell {
  return object => {
    const addresses = (object as NodeObject).status?.addresses ?? [];
    return addresses.find(entry => entry.type === type)?.address ?? '<none>';
  };
}

function slicePorts(object: StoredObject): string {
  const { ports } = object as SliceObject;
  if (ports === null || ports.length === 0) return '<unset>';
  return orNone(
    ports.map(({ port }) => (port === undefined || port === null ? '*' : String(port))),
    3,
  );
}

function sliceEndpoints(object: StoredObject): string {
  const { endpoints } = object as SliceObject;
  if (endpoints === null || endpoints.length === 0) return '<unset>';
  return orNone(
    endpoints.flatMap(endpoint => endpoint.addresses),
    3,
  );
}

function serviceCIDRs(object: StoredObject): string {
  return orNone((object as ServiceCIDRObject).spec.cidrs ?? []);
}

interface Subset {
  readonly addresses?: readonly { readonly ip: string }[];
  readonly ports?: readonly { readonly port: number }[];
}

function endpointsList(object: StoredObject): string {
  const subsets = (object.subsets ?? []) as readonly Subset[];
  const pairs = subsets.flatMap(({ addresses = [], ports = [] }) =>
    ports.length === 0
      ? addresses.map(({ ip }) => ip)
      : ports.flatMap(({ port }) => addresses.map(({ ip }) => `${ip}:${port}`)),
  );
  return orNone(pairs, 3);
}

function eventObject(object: StoredObject): string {
  const kind = String(valueAt(object, 'involvedObject.kind') ?? '').toLowerCase();
  return `${kind}/${String(valueAt(object, 'involvedObject.name') ?? '')}`;
}

const eventColumns: readonly Column[] = [
  column('Last Seen', (object, now) => {
    const times = ['series.lastObservedTime', 'lastTimestamp', 'eventTime', 'metadata.creationTimestamp'];
    const text = times.map(path => valueAt(object, path)).find(value => typeof value === 'string');
    return text === undefined ? '<unknown>' : humanDuration(now.getTime() - Date.parse(text));
  }),
  column('Type', textAt('type', '')),
  column('Reason', textAt('reason', '')),
  column('Object', eventObject),
  column('Message', textAt('message', '')),
  column('Name', object => object.metadata.name ?? '', 1),
];

const columnsByResource: ReadonlyMap<string, readonly Column[]> = new Map<string, readonly Column[]>([
  ['namespaces', [name, column('Status', textAt('status.phase')), age]],
  [
    'nodes',
    [
      name,
      column('Status', nodeStatus),
      column('Roles', nodeRoles),
      age,
      column('Version', textAt('status.nodeInfo.kubeletVersion', '')),
      column('Internal-IP', nodeAddress('InternalIP'), 1),
      column('External-IP', nodeAddress('ExternalIP'), 1),
      column('OS-Image', textAt('status.nodeInfo.osImage', '<unknown>'), 1),
      column('Kernel-Version', textAt('status.nodeInfo.kernelVersion', '<unknown>'), 1),
      column('Container-Runtime', textAt('status.nodeInfo.containerRuntimeVersion', '<unknown>'), 1),
    ],
  ],
  [
    'pods',
    [
      name,
      column('Ready', podReady),
      column('Status', podStatus),
      { ...column('Restarts', podRestarts), type: 'integer' },
      age,
      column('IP', textAt('status.podIP'), 1),
      column('Node', textAt('spec.nodeName'), 1),
      column('Nominated Node', textAt('status.nominatedNodeName'), 1),
      column('Readiness Gates', () => '<none>', 1),
    ],
  ],
  [
    'services',
    [
      name,
      column('Type', textAt('spec.type')),
      column('Cluster-IP', textAt('spec.clusterIP')),
      column('External-IP', externalIPs),
      column('Port(s)', servicePorts),
      age,
      column('Selector', selector, 1),
    ],
  ],
  ['endpoints', [name, column('Endpoints', endpointsList), age]],
  ['configmaps', [name, { ...column('Data', countOf('data')), type: 'integer' }, age]],
  ['secrets', [name, column('Type', textAt('type')), { ...column('Data', countOf('data')), type: 'integer' }, age]],
  ['serviceaccounts', [name, { ...column('Secrets', countOf('secrets')), type: 'integer' }, age]],
  ['events', eventColumns],
  ['events.events.k8s.io', eventColumns],
  [
    'endpointslices',
    [
      name,
      column('AddressType', textAt('addressType')),
      column('Ports', slicePorts),
      column('Endpoints', sliceEndpoints),
      age,
    ],
  ],
  ['servicecidrs', [name, column('CIDRs', serviceCIDRs), age]],
  ['leases', [name, column('Holder', textAt('spec.holderIdentity', '')), age]],
]);

/** The columns of a resource; name and age where nothing else is known. */
export function columnsOf(resource: Resource): readonly Column[] {
  return columnsByResource.get(resource.id) ?? [name, age];
}

/** One row of a Table. A half-made object (validation off) shows `<invalid>` instead of failing the whole table. */
export function tableRow(resource: Resource, object: StoredObject, include: IncludeObject, now: Date): JsonObject {
  const cells = columnsOf(resource).map(({ cell }) => {
    try {
      return cell(object, now);
    } catch (error) {
      if (error instanceof TypeError) return '<invalid>';
      throw error;
    }
  });
  if (include === 'None') return { cells };
  if (include === 'Object') return { cells, object };
  return { cells, object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata } };
}
