/** A node as kube-proxy 1.36 leaves it in its nftables mode: text for `nft -f`. Of Services with policy Cluster. */
import { createHash } from 'node:crypto';
import type { KubeProxyNode, KubeProxyService } from './kube-proxy.ts';

export function kubeProxyNftables(node: KubeProxyNode): string {
  const { family, nodePortAddresses } = node;
  const words = family === 'IPv4' ? { ip: 'ip', type: 'ipv4_addr' } : { ip: 'ip6', type: 'ipv6_addr' };
  const context = { ...words, node };
  const body = [
    ...sets(context),
    ...baseChains(),
    ...sharedChains(context),
    ...node.services.flatMap(service => serviceChains(service, context)),
  ];
  const nodePortIPs = nodePortAddresses ?? [];
  return [
    `add table ${words.ip} kube-proxy`,
    `table ${words.ip} kube-proxy {`,
    ...body,
    '}',
    ...elements(context),
    ...nodePortIPs.map(ip => `add element ${words.ip} kube-proxy nodeport-ips { ${ip} }`),
    '',
  ].join('\n');
}

interface Context {
  readonly ip: string;
  readonly type: string;
  readonly node: KubeProxyNode;
}

function sets({ type, node }: Context): string[] {
  return [
    `set cluster-ips { type ${type}; comment "Active ClusterIPs"; }`,
    ...(node.nodePortAddresses === undefined
      ? []
      : [`set nodeport-ips { type ${type}; comment "IPs that accept NodePort traffic"; }`]),
    `set hairpin-connections { type ${type} . ${type} . inet_proto . inet_service; }`,
    `map service-ips { type ${type} . inet_proto . inet_service : verdict; }`,
    'map service-nodeports { type inet_proto . inet_service : verdict; }',
    `map no-endpoint-services { type ${type} . inet_proto . inet_service : verdict; }`,
    'map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }',
    `map firewall-ips { type ${type} . inet_proto . inet_service : verdict; }`,
  ];
}

/** Each with its hook; filters stand before the destination changes, where source ranges are asked, and at the usual place. */
function baseChains(): string[] {
  return [
    'chain filter-prerouting-pre-dnat { type filter hook prerouting priority -110; ct state new jump firewall-check; }',
    'chain filter-output-pre-dnat { type filter hook output priority -110; ct state new jump firewall-check; }',
    'chain nat-prerouting { type nat hook prerouting priority -100; jump services; }',
    'chain nat-output { type nat hook output priority -100; jump services; }',
    'chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }',
    'chain filter-input { type filter hook input priority 0; ct state new jump nodeport-endpoints-check; ct state new jump service-endpoints-check; }',
    'chain filter-forward { type filter hook forward priority 0; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }',
    'chain filter-output { type filter hook output priority 0; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }',
  ];
}

function sharedChains({ ip, node }: Context): string[] {
  const { masqueradeBit = 14, nodePortAddresses, family } = node;
  const mark = `0x${(2 ** masqueradeBit).toString(16)}`;
  const frontend = `${ip} daddr . meta l4proto . th dport`;
  const loopback = family === 'IPv4' ? 'ip daddr != 127.0.0.0/8' : 'ip6 daddr != ::1';
  const toNode = nodePortAddresses === undefined ? `fib daddr type local ${loopback}` : `${ip} daddr @nodeport-ips`;
  return [
    `chain services { ${frontend} vmap @service-ips; ${toNode} meta l4proto . th dport vmap @service-nodeports; }`,
    `chain mark-for-masquerade { mark set mark or ${mark}; }`,
    `chain masquerading { ${ip} saddr . ${ip} daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random; mark and ${mark} == 0 return; mark set mark xor ${mark}; masquerade fully-random; }`,
    `chain cluster-ips-check { ${ip} daddr @cluster-ips reject; }`,
    `chain service-endpoints-check { ${frontend} vmap @no-endpoint-services; }`,
    `chain nodeport-endpoints-check { ${toNode} meta l4proto . th dport vmap @no-endpoint-nodeports; }`,
    `chain firewall-check { ${frontend} vmap @firewall-ips; }`,
    'chain reject-chain { reject; }',
  ];
}

function serviceChains(service: KubeProxyService, { ip, node }: Context): string[] {
  const { protocol, clusterIP, port, nodePort, endpoints } = service;
  if (endpoints.length === 0) return [];
  const targets = endpoints.map((endpoint, index) => `${index} : ${endpoint.ip} . ${endpoint.port}`).join(', ');
  const marked = `${ip} daddr ${clusterIP} ${protocol} dport ${port} ${ip} saddr != ${node.clusterCIDR} jump mark-for-masquerade`;
  const chosen = `meta l4proto ${protocol} dnat ${ip} addr . port to numgen random mod ${endpoints.length} map { ${targets} }`;
  const chains = [`chain ${chainName('service', service)} { ${marked}; ${chosen}; }`];
  if (nodePort === undefined) return chains;
  return [
    ...chains,
    `chain ${chainName('external', service)} { jump mark-for-masquerade; goto ${chainName('service', service)}; }`,
  ];
}

function elements({ ip, node }: Context): string[] {
  const add = (set: string, element: string) => `add element ${ip} kube-proxy ${set} { ${element} }`;
  const hairpins = new Set<string>();
  const own = node.services.flatMap(service => {
    const { name, protocol, clusterIP, port, nodePort, endpoints } = service;
    for (const endpoint of endpoints) hairpins.add(`${endpoint.ip} . ${endpoint.ip} . ${protocol} . ${endpoint.port}`);
    const hasEndpoints = endpoints.length > 0;
    const [byAddress, byNodePort] = hasEndpoints
      ? ['service-ips', 'service-nodeports']
      : ['no-endpoint-services', 'no-endpoint-nodeports'];
    const to = (prefix: string) => (hasEndpoints ? chainName(prefix, service) : 'reject-chain');
    const atNode = `${protocol} . ${nodePort} comment "${name}" : goto ${to('external')}`;
    return [
      add(byAddress, `${clusterIP} . ${protocol} . ${port} comment "${name}" : goto ${to('service')}`),
      ...(nodePort === undefined ? [] : [add(byNodePort, atNode)]),
    ];
  });
  const clusterIPs = new Set(node.services.map(({ clusterIP }) => clusterIP));
  return [
    ...own,
    ...[...clusterIPs].map(clusterIP => add('cluster-ips', clusterIP)),
    ...[...hairpins].map(hairpin => add('hairpin-connections', hairpin)),
  ];
}

/** `service-HASHHASH-namespace/name/protocol/port` */
function chainName(prefix: string, { name, protocol }: KubeProxyService): string {
  const [service = '', port = ''] = name.split(':');
  const text = `${service}/${protocol}/${port}`;
  return `${prefix}-${createHash('sha256').update(text).digest('hex').slice(0, 8).toUpperCase()}-${text}`;
}
