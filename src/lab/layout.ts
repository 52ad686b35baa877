/**
 * Who is where in a lab: names, addresses, and the `ip` lines that make it so. Two labs may use the same addresses, as they share nothing.
 *
 * control (API server) is also the switch: a bridge that joins node-a, node-b and the off-cluster client. Pods hang on a bridge per node,
 * as the CNI bridge plugin does it, but hold their address as a /32 behind the gateway, so that pod → Service → pod on one bridge is
 * routed through the node whether or not the kernel has br_netfilter. IPv6 is laid out in the same way (/128), beside IPv4, where the
 * kernel has it; its numbers are those of IPv4, read as hexadecimal.
 */

export interface NodeLayout {
  readonly name: string;
  readonly zone: string;
  readonly address: string;
  readonly address6: string;
  readonly podCIDR: string;
  readonly podCIDR6: string;
  /** The node's own address on its pod bridge. */
  readonly gateway: string;
  readonly gateway6: string;
}

export const clusterCIDR = '10.244.0.0/16';
export const clusterCIDR6 = 'fd00:10:244::/48';
export const serviceCIDR = '10.96.0.0/16';
export const serviceCIDR6 = 'fd00:10:96::/112';
export const apiAddress = '192.168.77.1';
export const apiAddress6 = 'fd00:77::1';
export const apiPort = 6443;
export const clientAddress = '192.168.77.100';
export const clientAddress6 = 'fd00:77::100';
export const healthzPort = 10256;

/** Where every pod answers. */
export const podPort = 8080;

/** The Service that every lab starts with; TCP and UDP on the same ports. */
export const web = {
  name: 'web',
  clusterIP: '10.96.0.80',
  clusterIP6: 'fd00:10:96::80',
  port: 80,
  nodePort: 30080,
} as const;

/** The cluster's DNS: the nodes' own daemons are behind it. */
export const clusterDns = {
  namespace: 'kube-system',
  name: 'kube-dns',
  clusterIP: '10.96.0.10',
  clusterIP6: 'fd00:10:96::a',
  /** Where a node's daemon listens for the other nodes. */
  nodePort: 5300,
  domain: 'cluster.local',
} as const;

/** The name of `web` for every program of the cluster. */
export const webName = `${web.name}.default.svc.${clusterDns.domain}`;

export const nodes: readonly [NodeLayout, NodeLayout] = [
  {
    name: 'node-a',
    zone: 'zone-a',
    address: '192.168.77.11',
    address6: 'fd00:77::11',
    podCIDR: '10.244.1.0/24',
    podCIDR6: 'fd00:10:244:1::/64',
    gateway: '10.244.1.1',
    gateway6: 'fd00:10:244:1::1',
  },
  {
    name: 'node-b',
    zone: 'zone-b',
    address: '192.168.77.12',
    address6: 'fd00:77::12',
    podCIDR: '10.244.2.0/24',
    podCIDR6: 'fd00:10:244:2::/64',
    gateway: '10.244.2.1',
    gateway6: 'fd00:10:244:2::1',
  },
];

/** Namespaces of every lab beside those of its pods. */
export const fixedMembers: readonly string[] = ['control', 'node-a', 'node-b', 'client'];

const labName = /^[a-z0-9_]{1,24}$/; // no '-': else the prefix of lab `a` would cover the namespaces of lab `a-b`

/** @throws when the name can't be used */
export function checkLabName(name: string): string {
  if (labName.test(name)) return name;
  throw new Error(`lab name '${name}': use 1 to 24 of a-z, 0-9 and _`);
}

export function namespacePrefix(lab: string): string {
  return `kpx-${lab}-`;
}

/** The namespace of a member: a node, a pod, `client` or `control`. */
export function namespaceOf(lab: string, member: string): string {
  return namespacePrefix(lab) + member;
}

/** @throws when there is no such node */
export function nodeLayout(name: string): NodeLayout {
  const node = nodes.find(candidate => candidate.name === name);
  if (node === undefined) throw new Error(`no node '${name}'; there are ${nodes.map(({ name }) => name).join(', ')}`);
  return node;
}

/** The address of the nth pod (from 1) that a node ever had: never used twice, so that nobody's neighbour cache is stale. */
export function podAddress(node: NodeLayout, nth: number): string {
  if (nth > 253) throw new Error(`${node.podCIDR} has no address left for a pod`);
  return node.gateway.replace(/\.1$/, `.${nth + 1}`);
}

/** The IPv6 address beside that one: the last number is the same. */
export function podAddress6(node: NodeLayout, nth: number): string {
  return node.gateway6.replace(/1$/, `${nth + 1}`);
}

/** Kernel parameters of a member's namespace, before it has links. */
export function sysctls(member: string): Record<string, number> {
  if (member === 'control') return { ...quietIPv6, ...bridgeFilter(0) }; // only a switch: no conntrack between the nodes
  if (!nodes.some(node => node.name === member)) return quietIPv6;
  return {
    ...quietIPv6,
    'net.ipv4.ip_forward': 1,
    'net.ipv6.conf.all.forwarding': 1,
    'net.ipv4.conf.all.rp_filter': 0, // replies to NodePorts may come back on another interface
    'net.ipv4.conf.default.rp_filter': 0,
    'net.ipv4.conf.all.send_redirects': 0, // pods of one node talk through the gateway on purpose
    'net.ipv4.conf.default.send_redirects': 0,
    // Else a Service without endpoints refuses six connections and then one a second; the others would wait for nothing.
    'net.ipv4.icmp_ratelimit': 0,
    'net.ipv6.icmp.ratelimit': 0,
    // Nor is the limit of all peers together asked: two processors that do so at once may both be told no, however little was sent.
    'net.ipv4.icmp_ratemask': 0,
    'net.ipv6.icmp.ratemask': 255, // a type that isn't
    ...bridgeFilter(1), // as on every Kubernetes node that has it
  };
}

// On `all` and on `default`, which new links copy: the kernel looks at both, each parameter in its own way.
const quietIPv6 = Object.fromEntries(
  ['all', 'default'].flatMap(scope => [
    [`net.ipv6.conf.${scope}.disable_ipv6`, 0],
    [`net.ipv6.conf.${scope}.accept_dad`, 0], // an address is usable at once, link-local ones too; nobody else can have it
    [`net.ipv6.conf.${scope}.accept_ra`, 0],
    [`net.ipv6.conf.${scope}.accept_redirects`, 0], // routers can't be told not to send them, as for IPv4
  ]),
);

function bridgeFilter(value: number): Record<string, number> {
  return { 'net.bridge.bridge-nf-call-iptables': value, 'net.bridge.bridge-nf-call-ip6tables': value };
}

/** What the `ip` lines are made for. */
export interface LinkOptions {
  /** false: IPv4 only, for a kernel without IPv6. */
  readonly hasIPv6: boolean;
}

/** The `ip` lines of the control namespace: the switch, its ports, the way back to the pods. */
export function controlLinks(lab: string, { hasIPv6 }: LinkOptions): string[] {
  const port = (member: string) => [
    `link add ${member} type veth peer name eth0 netns ${namespaceOf(lab, member)}`,
    `link set ${member} master link0 up`,
  ];
  return [
    ...bridge('link0', '02:00:c0:a8:4d:01', `${apiAddress}/24`),
    ...[...nodes.map(node => node.name), 'client'].flatMap(port),
    ...nodes.map(node => `route add ${node.podCIDR} via ${node.address}`),
    ...(hasIPv6 ? [`addr add ${apiAddress6}/64 dev link0 nodad`] : []),
    ...(hasIPv6 ? nodes.map(node => `route add ${node.podCIDR6} via ${node.address6}`) : []),
  ];
}

/** The `ip` lines of a node, once its eth0 is there. The default route leads to control, which forwards nothing. */
export function nodeLinks(
  node: NodeLayout,
  { hasIPv6, hasBridge = true }: LinkOptions & { readonly hasBridge?: boolean },
): string[] {
  const others = nodes.filter(other => other !== node);
  return [
    `addr add ${node.address}/24 dev eth0`,
    'link set eth0 up',
    `route add default via ${apiAddress}`,
    ...others.map(other => `route add ${other.podCIDR} via ${other.address}`),
    ...(hasBridge
      ? bridge('cni0', node.gateway === '10.244.1.1' ? '02:00:0a:f4:01:01' : '02:00:0a:f4:02:01', `${node.gateway}/24`)
      : []),
    ...(hasIPv6 ? nodeLinks6(node, others) : []),
    ...(hasIPv6 && hasBridge ? [`addr add ${node.gateway6}/64 dev cni0 nodad`] : []),
  ];
}

function nodeLinks6(node: NodeLayout, others: readonly NodeLayout[]): string[] {
  return [
    `addr add ${node.address6}/64 dev eth0 nodad`,
    `route add default via ${apiAddress6}`,
    ...others.map(other => `route add ${other.podCIDR6} via ${other.address6}`),
  ];
}

/** The `ip` lines of the off-cluster client: it knows the nodes, and Services through the first node; no pod. */
export function clientLinks({ hasIPv6 }: LinkOptions): string[] {
  return [
    `addr add ${clientAddress}/24 dev eth0`,
    'link set eth0 up',
    `route add ${serviceCIDR} via ${nodes[0].address}`,
    ...(hasIPv6 ? [`addr add ${clientAddress6}/64 dev eth0 nodad`] : []),
    ...(hasIPv6 ? [`route add ${serviceCIDR6} via ${nodes[0].address6}`] : []),
  ];
}

// A fixed MAC address: else the bridge takes that of its lowest port, which changes as pods come and go.
function bridge(name: string, mac: string, address: string): string[] {
  return [
    `link add ${name} address ${mac} type bridge mcast_snooping 0`,
    `addr add ${address} dev ${name}`,
    `link set ${name} up`,
  ];
}

/** The `ip` lines for a pod: in the node's namespace, then in its own. `ip6` is '' without IPv6. */
export function podLinks(
  lab: string,
  node: NodeLayout,
  pod: { readonly name: string; readonly ip: string; readonly ip6: string },
): { node: string[]; pod: string[] } {
  return {
    node: [
      `link add ${pod.name} type veth peer name eth0 netns ${namespaceOf(lab, pod.name)}`,
      `link set ${pod.name} master cni0 up`,
      `link set ${pod.name} type bridge_slave hairpin on`,
    ],
    pod: [
      `addr add ${pod.ip}/32 dev eth0`,
      'link set eth0 up',
      `route add ${node.gateway} dev eth0`,
      `route add default via ${node.gateway}`,
      ...(pod.ip6 === '' ? [] : podLinks6(node, pod.ip6)),
    ],
  };
}

function podLinks6(node: NodeLayout, ip6: string): string[] {
  return [
    `addr add ${ip6}/128 dev eth0 nodad`,
    `route add ${node.gateway6} dev eth0`,
    `route add default via ${node.gateway6}`,
  ];
}
