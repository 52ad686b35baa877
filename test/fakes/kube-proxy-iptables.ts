/** A node as kube-proxy 1.36 leaves it in its iptables mode, and the kubelet beside it: text for iptables-restore. Of Services with policy Cluster. */
import { clusterPolicyChain, endpointChain, externalChain } from '../../src/backends/iptables/names.ts';
import { type KubeProxyNode, type KubeProxyService, socketText } from './kube-proxy.ts';

/** The kubelet's chains (1.28 on), which are never anybody else's. */
export function kubeletRules(isIPv4: boolean): string {
  const guard =
    '-m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT';
  const firewall = [
    ':KUBE-FIREWALL - [0:0]',
    '-A INPUT -j KUBE-FIREWALL',
    '-A OUTPUT -j KUBE-FIREWALL',
    `-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 ${guard} -j DROP`,
  ];
  return lines(
    ...section('mangle', [':KUBE-IPTABLES-HINT - [0:0]', ':KUBE-KUBELET-CANARY - [0:0]']),
    ...section('nat', [':KUBE-KUBELET-CANARY - [0:0]']),
    ...section('filter', [':KUBE-KUBELET-CANARY - [0:0]', ...(isIPv4 ? firewall : [])]),
  );
}

export function kubeProxyIptables(node: KubeProxyNode): string {
  const withEndpoints = node.services.filter(({ endpoints }) => endpoints.length > 0);
  const without = node.services.filter(({ endpoints }) => endpoints.length === 0);
  return lines(
    ...section('mangle', [':KUBE-PROXY-CANARY - [0:0]']),
    ...section('nat', nat(node, withEndpoints)),
    ...section('filter', filter(node, without)),
  );
}

function nat(node: KubeProxyNode, services: readonly KubeProxyService[]): string[] {
  const { family, masqueradeBit = 14, nodePortAddresses } = node;
  const mark = `0x${(2 ** masqueradeBit).toString(16)}`;
  const own = ['CANARY', 'SERVICES', 'NODEPORTS', 'POSTROUTING', 'MARK-MASQ'];
  const chains = own.map(name => `:KUBE-${name === 'CANARY' ? 'PROXY-CANARY' : name} - [0:0]`);
  const toNodePorts =
    '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"';
  const isLocal = '-m addrtype --dst-type LOCAL';
  const jumps =
    nodePortAddresses === undefined
      ? [`-A KUBE-SERVICES ${family === 'IPv6' ? '! -d ::1/128 ' : ''}${toNodePorts} ${isLocal} -j KUBE-NODEPORTS`]
      : nodePortAddresses.map(ip => `-A KUBE-SERVICES -d ${ip} ${toNodePorts} -j KUBE-NODEPORTS`);
  const rules = services.map(service => serviceRules(service, node));
  return [
    ...chains,
    ...rules.flatMap(rule => rule.chains.map(name => `:${name} - [0:0]`)),
    `-A KUBE-MARK-MASQ -j MARK --or-mark ${mark}`,
    `-A KUBE-POSTROUTING -m mark ! --mark ${mark}/${mark} -j RETURN`,
    `-A KUBE-POSTROUTING -j MARK --xor-mark ${mark}`,
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    ...rules.flatMap(rule => rule.rules),
    ...jumps,
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
  ];
}

function serviceRules(
  service: KubeProxyService,
  { clusterCIDR }: KubeProxyNode,
): { chains: string[]; rules: string[] } {
  const { name, protocol, clusterIP, port, nodePort, endpoints } = service;
  const policy = clusterPolicyChain(name, protocol);
  const external = externalChain(name, protocol);
  const comment = (text: string) => `-m comment --comment "${text}"`;
  const at = `-d ${clusterIP} -p ${protocol} -m ${protocol} --dport ${port}`;
  const chainOf = (endpoint: KubeProxyService['endpoints'][number]) =>
    endpointChain(name, protocol, socketText(endpoint));
  const choice = (index: number) => {
    const left = endpoints.length - index;
    return left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `;
  };
  const nodePortRules = [
    `-A ${external} ${comment(`masquerade traffic for ${name} external destinations`)} -j KUBE-MARK-MASQ`,
    `-A ${external} -j ${policy}`,
    `-A KUBE-NODEPORTS ${comment(name)} -p ${protocol} -m ${protocol} --dport ${nodePort} -j ${external}`,
  ];
  return {
    chains: [policy, ...endpoints.map(chainOf), ...(nodePort === undefined ? [] : [external])],
    rules: [
      `-A KUBE-SERVICES ${at} ${comment(`${name} cluster IP`)} -j ${policy}`,
      `-A ${policy} ! -s ${clusterCIDR} ${at} ${comment(`${name} cluster IP`)} -j KUBE-MARK-MASQ`,
      ...endpoints.map((endpoint, index) => {
        return `-A ${policy} ${comment(`${name} -> ${socketText(endpoint)}`)} ${choice(index)}-j ${chainOf(endpoint)}`;
      }),
      ...endpoints.flatMap(endpoint => [
        `-A ${chainOf(endpoint)} -s ${endpoint.ip} ${comment(name)} -j KUBE-MARK-MASQ`,
        `-A ${chainOf(endpoint)} -p ${protocol} ${comment(name)} -m ${protocol} -j DNAT --to-destination ${socketText(endpoint)}`,
      ]),
      ...(nodePort === undefined ? [] : nodePortRules),
    ],
  };
}

function filter({ masqueradeBit = 14 }: KubeProxyNode, without: readonly KubeProxyService[]): string[] {
  const mark = `0x${(2 ** masqueradeBit).toString(16)}`;
  const own = ['PROXY-CANARY', 'SERVICES', 'EXTERNAL-SERVICES', 'NODEPORTS', 'FORWARD', 'PROXY-FIREWALL'];
  const fresh = '-m conntrack --ctstate NEW -m comment --comment';
  const portals = '"kubernetes service portals" -j KUBE-SERVICES';
  const external = '"kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES';
  const firewall = '"kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL';
  return [
    ...own.map(name => `:KUBE-${name} - [0:0]`),
    ...['INPUT', 'OUTPUT', 'FORWARD'].map(chain => `-A ${chain} ${fresh} ${firewall}`),
    '-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
    ...['INPUT', 'FORWARD'].map(chain => `-A ${chain} ${fresh} ${external}`),
    '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
    ...['FORWARD', 'OUTPUT'].map(chain => `-A ${chain} ${fresh} ${portals}`),
    '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
    `-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark ${mark}/${mark} -j ACCEPT`,
    '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ...without.map(({ name, clusterIP, protocol, port }) => {
      const at = `-d ${clusterIP} -p ${protocol} -m ${protocol} --dport ${port}`;
      return `-A KUBE-SERVICES ${at} -m comment --comment "${name} has no endpoints" -j REJECT`;
    }),
  ];
}

function section(table: string, body: readonly string[]): string[] {
  return [`*${table}`, ...body, 'COMMIT'];
}

function lines(...text: readonly string[]): string {
  return `${text.join('\n')}\n`;
}
