/** Which addresses and ports a case is about: where they are, and who must listen. */
import { canonicalIP, isLoopback } from '../../../../src/net/ip.ts';
import { trimEndpointSlice, trimService } from '../../../../src/watch/trim.ts';
import { parseEndpoint } from '../endpoint-text.ts';
import type { NodeConfig, Probe, Step } from '../packetflow.ts';
import { isFields } from '../vector-files.ts';
import type { ListenParams } from './sockets.ts';

type UdpAddress = ListenParams['udp'][number];

export interface CaseAddresses {
  /** The node's own, canonical. */
  readonly nodeIPs: readonly string[];
  /** Endpoints and pods that aren't the node itself. */
  readonly pods: ReadonlySet<string>;
  readonly tcpPorts: readonly number[];
  readonly udp: {
    readonly node: readonly UdpAddress[];
    readonly pods: readonly UdpAddress[];
    readonly outside: readonly UdpAddress[];
  };
  /** Some Service keeps its clients at their endpoints. */
  readonly hasAffinity: boolean;
}

interface Noted {
  readonly endpoints: Set<string>;
  readonly ports: Set<number>;
  readonly udpEndpoints: Map<string, UdpAddress>;
  hasAffinity: boolean;
}

export function addressesOf(node: NodeConfig, steps: readonly Required<Step>[]): CaseAddresses {
  const probes = steps.flatMap(step => step.probes);
  const nodeIPs = [...new Set(node.nodeIPs.map(ip => canonicalIP(ip) ?? ip))].filter(ip => !isLoopback(ip));
  const noted: Noted = { endpoints: new Set(), ports: new Set(), udpEndpoints: new Map(), hasAffinity: false };
  for (const object of steps.flatMap(step => step.apply)) note(noted, object);
  for (const probe of probes) noteProbe(noted, probe);
  const isNode = (ip: string) => nodeIPs.includes(ip) || isLoopback(ip);
  const podSources = probes.filter(probe => probe.sourceType === 'pod').map(({ sourceIP }) => sourceIP);
  const pods = new Set([...noted.endpoints, ...podSources].filter(ip => !isNode(ip)));
  const targets = probes.filter(({ proto }) => proto === 'UDP').map(({ destIP: ip, destPort: port }) => ({ ip, port }));
  const udp = distinct([...targets, ...noted.udpEndpoints.values()]);
  // An address that the node has only for one probe is another's for the rest: its listener is in two places.
  const lent = new Set(probes.filter(({ sourceType }) => sourceType === 'lb-ip').map(({ sourceIP }) => sourceIP));
  return {
    nodeIPs,
    pods,
    tcpPorts: [...noted.ports],
    udp: {
      node: udp.filter(({ ip }) => isNode(ip) || lent.has(ip)),
      pods: udp.filter(({ ip }) => pods.has(ip)),
      outside: udp.filter(({ ip }) => !isNode(ip) && !pods.has(ip)),
    },
    hasAffinity: noted.hasAffinity,
  };
}

function noteProbe(noted: Noted, { destPort, expect, proto }: Probe): void {
  noted.ports.add(destPort);
  for (const text of 'endpoints' in expect ? expect.endpoints : []) {
    const { ip, port } = parseEndpoint(text);
    noted.endpoints.add(ip);
    noted.ports.add(port);
    if (proto === 'UDP') noted.udpEndpoints.set(text, { ip, port });
  }
}

function note(noted: Noted, object: unknown): void {
  if (!isFields(object)) return;
  const service = object.kind === 'Service' ? trimService(object).object : undefined;
  for (const { port, nodePort } of service?.ports ?? []) noted.ports.add(port).add(nodePort);
  if (service !== undefined && service.affinityTimeoutSeconds > 0) noted.hasAffinity = true;
  noted.ports.delete(0);
  const slice = object.kind === 'EndpointSlice' ? trimEndpointSlice(object).object : undefined;
  for (const ip of slice?.endpoints.flatMap(endpoint => endpoint.addresses) ?? []) {
    noted.endpoints.add(ip);
    for (const { port, protocol } of slice?.ports ?? []) {
      noted.ports.add(port);
      if (protocol === 'UDP') noted.udpEndpoints.set(`${ip} ${port}`, { ip, port });
    }
  }
}

function distinct(addresses: readonly UdpAddress[]): UdpAddress[] {
  return [...new Map(addresses.map(address => [`${address.ip} ${address.port}`, address])).values()];
}
