/** The API objects and files that a lab starts with (pure). */
import {
  apiAddress,
  apiPort,
  clusterCIDR,
  clusterCIDR6,
  clusterDns,
  healthzPort,
  type LinkOptions,
  type NodeLayout,
  podPort,
  web,
} from './layout.ts';

export type ApiObject = Readonly<Record<string, unknown>> & { readonly metadata: Readonly<Record<string, unknown>> };

export const apiUrl = `http://${apiAddress}:${apiPort}`;

export function nodeObject(node: NodeLayout, { hasIPv6 }: LinkOptions): ApiObject {
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
    spec: { podCIDR: node.podCIDR, podCIDRs: hasIPv6 ? [node.podCIDR, node.podCIDR6] : [node.podCIDR] },
    status: nodeStatus(node, { hasIPv6 }),
  };
}

export function nodeStatus(node: NodeLayout, { hasIPv6 }: LinkOptions): Readonly<Record<string, unknown>> {
  return {
    addresses: [
      { type: 'InternalIP', address: node.address },
      ...(hasIPv6 ? [{ type: 'InternalIP', address: node.address6 }] : []),
      { type: 'Hostname', address: node.name },
    ],
    conditions: [{ type: 'Ready', status: 'True', reason: 'LabNode', message: 'a network namespace' }],
  };
}

export function webService({ hasIPv6 }: LinkOptions): ApiObject {
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
      clusterIPs: hasIPv6 ? [web.clusterIP, web.clusterIP6] : [web.clusterIP],
      ipFamilies: hasIPv6 ? ['IPv4', 'IPv6'] : ['IPv4'],
      ipFamilyPolicy: hasIPv6 ? 'RequireDualStack' : 'SingleStack',
      selector: { app: 'web' },
      ports: [port('http', 'TCP'), port('udp', 'UDP')],
    },
  };
}

/** Where every pod's names are asked; the daemons' own pods are behind it. */
export function dnsService({ hasIPv6 }: LinkOptions): ApiObject {
  const port = (name: string, protocol: string) => ({ name, protocol, port: 53, targetPort: clusterDns.nodePort });
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: clusterDns.name, namespace: clusterDns.namespace, labels: { 'k8s-app': 'kube-dns' } },
    spec: {
      clusterIP: clusterDns.clusterIP,
      clusterIPs: hasIPv6 ? [clusterDns.clusterIP, clusterDns.clusterIP6] : [clusterDns.clusterIP],
      ipFamilies: hasIPv6 ? ['IPv4', 'IPv6'] : ['IPv4'],
      ipFamilyPolicy: hasIPv6 ? 'RequireDualStack' : 'SingleStack',
      selector: { 'k8s-app': 'kproxy-ts' },
      ports: [port('dns', 'UDP'), port('dns-tcp', 'TCP')],
    },
  };
}

/** The daemon of a node as a pod of its DaemonSet, on the node's own network. */
export function daemonPod(node: NodeLayout): ApiObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `kproxy-ts-${node.name}`,
      namespace: clusterDns.namespace,
      labels: { 'k8s-app': 'kproxy-ts' },
    },
    spec: { nodeName: node.name, hostNetwork: true, containers: [{ name: 'kproxy-ts', image: 'kproxy-ts' }] },
  };
}

export function daemonPodStatus(node: NodeLayout, { hasIPv6 }: LinkOptions): Readonly<Record<string, unknown>> {
  return {
    phase: 'Running',
    podIP: node.address,
    podIPs: (hasIPv6 ? [node.address, node.address6] : [node.address]).map(ip => ({ ip })),
    conditions: [{ type: 'Ready', status: 'True' }],
  };
}

/** A pod's resolv.conf as the kubelet writes it. */
export function resolvConf(namespace: string): string {
  const { domain, clusterIP } = clusterDns;
  return `search ${namespace}.svc.${domain} svc.${domain} ${domain}\nnameserver ${clusterIP}\noptions ndots:5\n`;
}

export interface PodPlace {
  readonly name: string;
  readonly node: string;
  readonly ip: string;
  /** '' without IPv6. */
  readonly ip6: string;
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
    podIPs: [pod.ip, pod.ip6].filter(ip => ip !== '').map(ip => ({ ip })),
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

/** The lab has no way out, so no names but its own. */
const DNS_SECTION = `dns:
  enabled: true
  listen: ["node:${clusterDns.nodePort}"]
  service: ${clusterDns.namespace}/${clusterDns.name}
  upstreams: []
`;

function nodeDocument({ hasDns, cniDirectory }: Pick<ProxyConfiguration, 'hasDns' | 'cniDirectory'>): string {
  const cni = cniDirectory === '' ? '' : `cni:\n  enabled: true\n  stateDirectory: ${cniDirectory}\n`;
  if (!hasDns && cni === '') return '';
  return `---
apiVersion: kproxy-ts.dev/v1alpha1
kind: NodeConfiguration
${hasDns ? DNS_SECTION : ''}${cni}`;
}

export interface ProxyConfiguration extends LinkOptions {
  readonly node: NodeLayout;
  readonly mode: string;
  readonly kubeconfigFile: string;
  /** Whether the daemon answers the cluster's names. */
  readonly hasDns: boolean;
  /** A directory for what the daemon keeps of pods; '' = it doesn't give pods their network. */
  readonly cniDirectory: string;
}

/** A KubeProxyConfiguration as kubeadm would write it for this node. */
export function proxyConfiguration(config: ProxyConfiguration): string {
  const { node, mode, kubeconfigFile, hasIPv6 } = config;
  return `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection:
  kubeconfig: ${kubeconfigFile}
hostnameOverride: ${node.name}
mode: "${mode}"
clusterCIDR: ${hasIPv6 ? `${clusterCIDR},${clusterCIDR6}` : clusterCIDR}
healthzBindAddress: 0.0.0.0:${healthzPort}
metricsBindAddress: 127.0.0.1:10249
# The size of the connection table is the machine's own, and can't be set from a network namespace.
conntrack:
  maxPerCore: 0
${nodeDocument(config)}`;
}
