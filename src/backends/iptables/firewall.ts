import { reachableEndpoints } from '../../endpoints/categorize.ts';
import type { ServicePort, ServiceRoute } from '../../endpoints/types.ts';
import { cidrContains, parseCIDR } from '../../net/cidr.ts';
import { CHAIN, externalChain, firewallChain, nodePortFirewallChain } from './names.ts';
import { chain, entry, type IptablesObject } from './objects.ts';
import { destinationPort, host, type IptablesOptions, nodePortDestinations, rule, TO_NODE } from './rules.ts';
import type { Subject } from './subject.ts';

/** Whether an allow list keeps anybody out. */
function restricts(ranges: readonly string[]): boolean {
  return ranges.length > 0 && !ranges.some(range => range.endsWith('/0'));
}

/** Whether only some sources may use the load balancer addresses. */
export function filtersLoadBalancer(port: ServicePort): boolean {
  return restricts(port.loadBalancerSourceRanges);
}

/** Whether only some sources may use the NodePort. */
export function filtersNodePort(port: ServicePort): boolean {
  return restricts(port.nodePortSourceRanges);
}

/**
 * Source ranges: a chain in nat hands on whom they allow; everybody else's packet keeps its destination, which filter drops. Without an
 * endpoint nothing of this: everybody is refused.
 */
export function planFirewall(route: ServiceRoute, subject: Subject, options: IptablesOptions): IptablesObject[] {
  if (reachableEndpoints(route).length === 0) return [];
  const { port } = subject;
  return [
    ...(filtersLoadBalancer(port) && port.loadBalancerVIPs.length > 0 ? loadBalancerFirewall(subject, options) : []),
    ...(filtersNodePort(port) && port.nodePort !== 0 ? nodePortFirewall(subject, options) : []),
  ];
}

function loadBalancerFirewall({ port, text, protocol }: Subject, { nodeIP }: IptablesOptions): IptablesObject[] {
  const { loadBalancerVIPs: vips, loadBalancerSourceRanges: ranges } = port;
  const name = firewallChain(text, protocol);
  const jump = externalChain(text, protocol);
  // What the node sends to a load balancer address that it has itself comes from that address.
  const own = nodeIP !== undefined && ranges.some(range => holds(range, nodeIP)) ? vips.map(host) : [];
  const allow = (source: string) => rule({ source, comment: `${text} loadbalancer IP`, jump });
  const matches = [destinationPort(protocol, port.port)];
  const why = `${text} traffic not accepted by ${name}`;
  return [
    chain('nat', name, [...ranges, ...own].map(allow)),
    ...vips.map(ip =>
      entry(
        'filter',
        CHAIN.proxyFirewall,
        rule({ destination: host(ip), protocol, comment: why, matches, jump: 'DROP' }),
      ),
    ),
  ];
}

/** As for load balancer addresses; an endpoint on this node's own network may have the same port, so DNAT tells them apart. */
function nodePortFirewall({ port, text, protocol }: Subject, options: IptablesOptions): IptablesObject[] {
  const name = nodePortFirewallChain(text, protocol);
  const jump = externalChain(text, protocol);
  const why = `${text} traffic not accepted by ${name}`;
  const matches = [TO_NODE, destinationPort(protocol, port.nodePort), '-m conntrack ! --ctstate DNAT'];
  return [
    chain(
      'nat',
      name,
      port.nodePortSourceRanges.map(source => rule({ source, comment: `${text} nodeport`, jump })),
    ),
    ...nodePortDestinations(options).map(destination => {
      const where = destination === undefined ? {} : { destination };
      return entry('filter', CHAIN.proxyFirewall, rule({ ...where, protocol, comment: why, matches, jump: 'DROP' }));
    }),
  ];
}

function holds(range: string, ip: string): boolean {
  const cidr = parseCIDR(range);
  return cidr !== undefined && cidrContains(cidr, ip);
}
