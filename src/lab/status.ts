/** What a lab consists of right now, as data and as tables. */

import { renderTable } from '../text/table.ts';
import { ApiError, LabApi } from './api.ts';
import { readDaemon } from './daemons.ts';
import { clientAddress, clientAddress6, nodes } from './layout.ts';
import { apiUrl, type PodPlace } from './manifests.ts';
import { isAlive, type ProcessId } from './process.ts';
import { type LabState, labDir } from './state.ts';

export interface NodeStatus {
  readonly name: string;
  readonly zone: string;
  /** Of each family; IPv4 first. */
  readonly addresses: readonly string[];
  readonly podCIDRs: readonly string[];
  readonly daemon: 'ready' | 'alive' | 'dead' | 'none';
  /** 0 when there is none. */
  readonly pid: number;
}

export interface PodStatus {
  readonly name: string;
  readonly node: string;
  readonly ips: readonly string[];
  readonly isAlive: boolean;
  readonly pid: number;
}

export interface ServiceStatus {
  readonly namespace: string;
  readonly name: string;
  readonly type: string;
  readonly clusterIPs: readonly string[];
  /** As kubectl writes them: 80:30080/TCP. */
  readonly ports: readonly string[];
}

export interface LabStatus {
  readonly name: string;
  readonly phase: 'starting' | 'ready';
  readonly startedAt: string;
  readonly mode: string;
  readonly directory: string;
  readonly apiUrl: string;
  readonly isApiAlive: boolean;
  /** Addresses of the off-cluster client. */
  readonly client: readonly string[];
  readonly nodes: readonly NodeStatus[];
  readonly pods: readonly PodStatus[];
  readonly services: readonly ServiceStatus[];
}

export async function collectStatus(state: LabState): Promise<LabStatus> {
  const services = await listServices(state.name);
  return {
    name: state.name,
    phase: state.phase,
    startedAt: state.startedAt,
    mode: state.mode,
    directory: labDir(state.name),
    apiUrl,
    isApiAlive: services !== null,
    client: state.hasIPv6 ? [clientAddress, clientAddress6] : [clientAddress],
    nodes: await Promise.all(nodes.map(node => nodeStatus(state, node))),
    pods: await Promise.all(state.pods.map(async pod => ({ ...place(pod), ...(await processStatus(pod.process)) }))),
    services: services ?? [],
  };
}

function place({ name, node, ip, ip6 }: PodPlace) {
  return { name, node, ips: ip6 === '' ? [ip] : [ip, ip6] };
}

async function processStatus(id: ProcessId | null): Promise<{ isAlive: boolean; pid: number }> {
  return { isAlive: id !== null && (await isAlive(id)), pid: id?.pid ?? 0 };
}

async function nodeStatus(state: LabState, node: (typeof nodes)[number]): Promise<NodeStatus> {
  const { name, zone } = node;
  const addresses = state.hasIPv6 ? [node.address, node.address6] : [node.address];
  const podCIDRs = state.hasIPv6 ? [node.podCIDR, node.podCIDR6] : [node.podCIDR];
  const id = state.daemons[name];
  const daemon = id === undefined ? 'none' : await readDaemon(state.name, name, id);
  return { name, zone, addresses, podCIDRs, daemon, pid: id?.pid ?? 0 };
}

/** null when the API server doesn't answer. */
async function listServices(lab: string): Promise<ServiceStatus[] | null> {
  try {
    const objects = await new LabApi(`${labDir(lab)}/api.sock`).list('/api/v1/services');
    return objects.map(object => serviceStatus(object as unknown as ServiceObject));
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

interface ServiceObject {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec: {
    readonly type?: string;
    readonly clusterIPs?: readonly string[];
    readonly ports?: readonly { readonly port: number; readonly nodePort?: number; readonly protocol?: string }[];
  };
}

function serviceStatus({ metadata, spec }: ServiceObject): ServiceStatus {
  const ports = (spec.ports ?? []).map(({ port, nodePort, protocol = 'TCP' }) => {
    return `${port}${nodePort === undefined ? '' : `:${nodePort}`}/${protocol}`;
  });
  const { namespace, name } = metadata;
  return { namespace, name, type: spec.type ?? 'ClusterIP', clusterIPs: spec.clusterIPs ?? [], ports };
}

/** Everything that should run does. */
export function isHealthy(status: LabStatus): boolean {
  const daemonsServe = status.nodes.every(({ daemon }) => daemon === 'ready' || daemon === 'none');
  return status.phase === 'ready' && status.isApiAlive && daemonsServe && status.pods.every(pod => pod.isAlive);
}

/** The status for people. */
export function renderStatus(status: LabStatus): string {
  const head = [
    [
      'lab',
      `${status.name}, ${status.phase}, since ${status.startedAt}, mode ${status.mode || 'as the daemons choose'}`,
    ],
    ['files', status.directory],
    ['API server', `${status.apiUrl} ${status.isApiAlive ? '' : '(dead)'}`],
    ['client', `${status.client.join(',')} (off-cluster)`],
  ];
  const nodeRows = status.nodes.map(({ name, zone, addresses, podCIDRs, daemon, pid }) => {
    return [
      name,
      zone,
      addresses.join(','),
      podCIDRs.join(','),
      daemon === 'none' ? 'none' : `${daemon} (process ${pid})`,
    ];
  });
  const podRows = status.pods.map(pod => [
    pod.name,
    pod.node,
    pod.ips.join(','),
    `${pod.isAlive ? 'alive' : 'dead'} (process ${pod.pid})`,
  ]);
  const serviceRows = status.services.map(service => {
    return [
      `${service.namespace}/${service.name}`,
      service.type,
      service.clusterIPs.join(','),
      service.ports.join(','),
    ];
  });
  return [
    renderTable(head),
    renderTable([['NODE', 'ZONE', 'ADDRESSES', 'POD CIDRS', 'DAEMON'], ...nodeRows]),
    renderTable([['POD', 'NODE', 'ADDRESSES', 'ECHO'], ...podRows]),
    renderTable([['SERVICE', 'TYPE', 'CLUSTER-IPS', 'PORTS'], ...serviceRows]),
  ].join('\n');
}
