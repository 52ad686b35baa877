/**
 * Groups about `nodePortAddresses`. The product has no list of addresses: the kernel is asked at each packet. So what counts is observed:
 * which of the node's addresses lead to a NodePort's endpoint by the rules that the setting leads to.
 */
import { cidrContains, parseCIDR } from '../../../../src/net/cidr.ts';
import { formatIPv4, type IPFamily, ipFamily, isLoopback, parseIPv4 } from '../../../../src/net/ip.ts';
import { BACKENDS } from '../backends.ts';
import type { NodeConfig } from '../packetflow.ts';
import { compared, type Result } from '../result.ts';
import { TracedNode } from '../traced-node.ts';
import type { Fields } from '../vector-files.ts';
import { casesOf } from './cases.ts';

const NODE_PORT = 30080;
const CLUSTER = {
  IPv4: { clusterIP: '10.96.0.10', endpoint: '10.244.1.2' },
  IPv6: { clusterIP: 'fd00:10:96::10', endpoint: 'fd00:10:244::2' },
} as const;
const FAMILIES = ['IPv4', 'IPv6'] as const;

/** Addresses that a node might get; the first that no range of a case names shows whether any address will do. */
const STRANGERS = ['198.18.7.7', '9.9.9.9', '250.1.1.1', 'fd5e:1::7', '2a00:77::7'];

function objectsFor(family: IPFamily): unknown[] {
  const { clusterIP, endpoint } = CLUSTER[family];
  const name = `web-${family.toLowerCase()}`;
  const port = { name: 'http', port: 80, protocol: 'TCP' };
  // Each family has a NodePort of its own: its Service is another one.
  const nodePort = family === 'IPv4' ? NODE_PORT : NODE_PORT + 1;
  return [
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'default', name } },
      spec: { type: 'NodePort', clusterIP, ports: [{ ...port, nodePort }] },
    },
    {
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: family },
      metadata: { namespace: 'default', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      endpoints: [{ addresses: [endpoint] }],
      ports: [port],
    },
  ];
}

/** Answers whether an address of a node with this setting takes NodePorts. */
async function observer(cidrs: readonly string[], nodeIPs: readonly string[]): Promise<(ip: string) => boolean> {
  const node: NodeConfig = {
    ...{ nodeName: 'node', nodeIPs, ipFamilies: FAMILIES, nodePortAddresses: cidrs, localhostNodePorts: true },
    localDetect: { mode: 'None' },
  };
  const entry = BACKENDS.iptables;
  if (entry === undefined) throw new TypeError('there is no backend iptables');
  const traced = new TracedNode(entry, 'iptables', node);
  await traced.take({ apply: FAMILIES.flatMap(objectsFor) });
  return ip => {
    const destPort = ipFamily(ip) === 'IPv4' ? NODE_PORT : NODE_PORT + 1;
    const sourceType = isLoopback(ip) ? 'localhost' : 'node';
    const probe = { name: ip, sourceType, sourceIP: ip, proto: 'TCP', destIP: ip, destPort } as const;
    const seen = traced.trace({ ...probe, expect: { verdict: 'none' } });
    return seen.length > 0 && seen.every(sighting => 'endpoint' in sighting);
  };
}

interface AddressesCase {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly interfaceAddresses: readonly string[];
  readonly expect: Readonly<Record<IPFamily, { readonly matchAll: boolean; readonly ips: readonly string[] }>>;
}

export async function playNodePortAddresses(group: Fields): Promise<Result[]> {
  return Promise.all(casesOf<AddressesCase>(group).map(playAddresses));
}

async function playAddresses({ name, cidrs, interfaceAddresses, expect }: AddressesCase): Promise<Result> {
  const strangers = FAMILIES.map(family => strangerTo(cidrs, family));
  const takes = await observer(cidrs, [...interfaceAddresses, ...strangers]);
  const seen = FAMILIES.map((family, index) => {
    const ips = interfaceAddresses.filter(ip => ipFamily(ip) === family && takes(ip));
    return [family, { matchAll: takes(strangers[index] ?? ''), ips: ips.toSorted() }];
  });
  const wanted = FAMILIES.map(family => {
    const { matchAll, ips } = expect[family];
    // The group is about the list; what is made of it leaves ::1 out in every mode, because no sysctl lets such a packet leave the node.
    return [family, { matchAll, ips: ips.filter(ip => ip !== '::1').toSorted() }];
  });
  return compared(name, Object.fromEntries(wanted), Object.fromEntries(seen));
}

function strangerTo(cidrs: readonly string[], family: IPFamily): string {
  const ranges = cidrs.map(parseCIDR).filter(cidr => cidr !== undefined && cidr.prefixLength > 0);
  const isNamed = (ip: string) => ranges.some(cidr => cidr !== undefined && cidrContains(cidr, ip));
  const found = STRANGERS.find(ip => ipFamily(ip) === family && !isNamed(ip));
  if (found === undefined)
    throw new TypeError(`the ranges ${cidrs.join(', ')} hold every address that the runner knows`);
  return found;
}

interface LoopbackCase {
  readonly cidrs: readonly string[];
  readonly expect: boolean;
}

/** Whether a loopback address takes NodePorts: for these kube-proxy sets route_localnet. */
export async function playContainsIPv4Loopback(group: Fields): Promise<Result[]> {
  const cases = casesOf<LoopbackCase>(group);
  return Promise.all(
    cases.map(async ({ cidrs, expect }) => {
      const takes = await observer(cidrs, []);
      return compared(JSON.stringify(cidrs), expect, ['127.0.0.1', ...cidrs.flatMap(loopbackIn)].some(takes));
    }),
  );
}

/** The first loopback address that a range names. */
function loopbackIn(cidr: string): string[] {
  const network = parseIPv4(parseCIDR(cidr)?.address ?? '');
  return network === undefined || !isLoopback(formatIPv4(network)) ? [] : [formatIPv4(network + 1)];
}
