/** The API objects and files that a lab starts with (pure). */
import { apiAddress, apiPort, clusterCIDR, healthzPort, type NodeLayout, podPort, web } from './layout.ts';

export type ApiObject = Readonly<Record<string, unknown>> & { readonly metadata: Readonly<Record<string, unknown>> };

export const apiUrl = `http://${apiAddress}:${apiPort}`;

export function nodeObject(node: NodeLayout): ApiObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: node.name,
      labels: {
        'kubernetes.io/hostname': node.name,
        'kubernetes.io/os': 'linux',
        'topology.kubernetes.io/zone': node.zone,
      },
    },
    spec: { podCIDR: node.podCIDR, podCIDRs: [node.podCIDR] },
    status: nodeStatus(node),
  };
}

export function nodeStatus(node: NodeLayout): Readonly<Record<string, unknown>> {
  return {
    addresses: [
      { type: 'InternalIP', address: node.address },
      { type: 'Hostname', address: node.name },
    ],
    conditions: [{ type: 'Ready', status: 'True', reason: 'LabNode', message: 'a network namespace' }],
  };
}

export function webService(): ApiObject {
  const port = (name: string, protocol: string) => ({
    name,
    protocol,
    port: web.port,
    targetPort: podPort,
    nodePort: web.nodePort,
  });
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: web.name, namespace: 'default', labels: { app: 'web' } },
    spec: {
      type: 'NodePort',
      clusterIP: web.clusterIP,
      clusterIPs: [web.clusterIP],
      selector: { app: 'web' },
      ports: [port('http', 'TCP'), port('udp', 'UDP')],
    },
  };
}

export interface PodPlace {
  readonly name: string;
  readonly node: string;
  readonly ip: string;
}

export function podObject(pod: PodPlace): ApiObject {
  const ports = [
    { name: 'http', containerPort: podPort, protocol: 'TCP' },
    { name: 'udp', containerPort: podPort, protocol: 'UDP' },
  ];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: pod.name, namespace: 'default', labels: { app: 'web' } },
    spec: { nodeName: pod.node, containers: [{ name: 'echo', image: 'lab/echo', ports }] },
  };
}

/** What the kubelet would report of a pod that answers. */
export function podStatus(pod: PodPlace): Readonly<Record<string, unknown>> {
  return {
    phase: 'Running',
    podIP: pod.ip,
    podIPs: [{ ip: pod.ip }],
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'ContainersReady', status: 'True' },
    ],
    containerStatuses: [{ name: 'echo', image: 'lab/echo', ready: true, restartCount: 0 }],
  };
}

export function kubeconfig(): string {
  return `apiVersion: v1
kind: Config
clusters: [{ name: lab, cluster: { server: '${apiUrl}' } }]
users: [{ name: lab, user: {} }]
contexts: [{ name: lab, context: { cluster: lab, user: lab } }]
current-context: lab
`;
}

/** A KubeProxyConfiguration as kubeadm would write it for this node. */
export function proxyConfiguration(node: NodeLayout, mode: string, kubeconfigFile: string): string {
  return `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection:
  kubeconfig: ${kubeconfigFile}
hostnameOverride: ${node.name}
mode: ${mode}
clusterCIDR: ${clusterCIDR}
healthzBindAddress: 0.0.0.0:${healthzPort}
metricsBindAddress: 127.0.0.1:10249
`;
}
