/** The records of one Service, and of the endpoints behind it. Pure. Specification 1.1.0 §2.3, §2.4; weights as CoreDNS has them. */
import { type DnsRecord, type RecordData, TYPE } from '../records.ts';
import { type DnsEndpoint, type DnsPort, type DnsService, endpointIPs, endpointsOf } from './dns-service.ts';

/** What a name has of a type: nothing = it exists and has other types. */
export interface Found {
  readonly answers: readonly DnsRecord[];
  /** Addresses of what the answers point to. */
  readonly additional?: readonly DnsRecord[];
}

export const NO_DATA: Found = { answers: [] };

/** Where the records are. */
export interface Owner {
  /** The question's name, lower case. */
  readonly name: string;
  readonly type: number;
  readonly ttl: number;
  /** The Service's own name in the zone that SRV and PTR records point into. */
  readonly serviceName: string;
}

/** Of SRV records, shared among those of a port. */
const WEIGHTS = 100;

export function addressRecords({ name, type, ttl }: Omit<Owner, 'serviceName'>, ips: Iterable<string>): DnsRecord[] {
  const records = [...new Set(ips)].map(ip => ({ name, ttl, ...addressData(ip) }));
  return type === TYPE.SRV ? records : records.filter(record => record.type === type);
}

function addressData(ip: string): RecordData {
  return { type: ip.includes(':') ? TYPE.AAAA : TYPE.A, ip };
}

export function serviceRecords(owner: Owner, service: DnsService): Found {
  const { name, type, ttl } = owner;
  if (service.kind === 'external-name') {
    if (type === TYPE.SRV) return NO_DATA;
    return { answers: [{ name, ttl, type: TYPE.CNAME, target: service.externalName }] };
  }
  if (type === TYPE.SRV) return portRecords(owner, service, () => true);
  return { answers: addressRecords(owner, service.kind === 'headless' ? endpointIPs(service) : service.clusterIPs) };
}

/** Names below a Service: endpoints, `_port._protocol` (CoreDNS lets the underscores be left out), and `_protocol`, which exists where a port is below it. */
export function recordsBelow(owner: Owner, service: DnsService, below: readonly string[]): Found | undefined {
  const [first = '', second, ...rest] = below;
  if (service.kind === 'external-name' || rest.length > 0) return undefined;
  if (second === undefined) return endpointRecords(owner, service, first) ?? ownerOfPorts(service, first);
  const matches = ({ name, protocol }: DnsPort) => isWord(first, name) && isWord(second, protocol);
  if (!portsOf(service).some(matches)) return undefined;
  return owner.type === TYPE.SRV ? portRecords(owner, service, matches) : NO_DATA;
}

function ownerOfPorts(service: DnsService, label: string): Found | undefined {
  const isAbove = ({ name, protocol }: DnsPort) => name !== '' && label === `_${protocol.toLowerCase()}`;
  return portsOf(service).some(isAbove) ? NO_DATA : undefined;
}

function isWord(label: string, word: string): boolean {
  return word !== '' && (label.startsWith('_') ? label.slice(1) : label) === word.toLowerCase();
}

function portsOf({ kind, ports, groups }: DnsService): readonly DnsPort[] {
  return kind === 'headless' ? groups.flatMap(group => group.ports) : ports;
}

function endpointRecords(owner: Owner, service: DnsService, label: string): Found | undefined {
  const named = [...endpointsOf(service)].filter(endpoint => endpoint.label === label);
  if (named.length === 0) return undefined;
  if (owner.type === TYPE.SRV) return endpointPorts(owner, named, { matches: () => true, targetOf: () => owner.name });
  return {
    answers: addressRecords(
      owner,
      named.map(({ ip }) => ip),
    ),
  };
}

function portRecords(owner: Owner, service: DnsService, matches: (port: DnsPort) => boolean): Found {
  const { name, ttl, serviceName: target } = owner;
  if (service.kind === 'headless') {
    const targetOf = ({ label }: DnsEndpoint) => `${label}.${target}`;
    return endpointPorts(owner, [...endpointsOf(service)], { matches, targetOf });
  }
  const weight = weightAmong(service.clusterIPs.length);
  // One record where TCP and UDP have the same number: RFC 2181 §5 knows no two of the same data.
  const numbers = new Set(service.ports.filter(matches).map(({ port }) => port));
  const answers = Array.from(
    numbers,
    port => ({ name, ttl, type: TYPE.SRV, priority: 0, weight, port, target }) as const,
  );
  return { answers, additional: addressRecords({ name: target, type: TYPE.SRV, ttl }, service.clusterIPs) };
}

interface EndpointPorts {
  readonly matches: (port: DnsPort) => boolean;
  readonly targetOf: (endpoint: DnsEndpoint) => string;
}

/** One record for each port of each name, however many addresses that has. */
function endpointPorts(
  { name, ttl }: Owner,
  endpoints: readonly DnsEndpoint[],
  { matches, targetOf }: EndpointPorts,
): Found {
  const counts = new Map<string, number>();
  const all = endpoints.flatMap(endpoint =>
    endpoint.ports.filter(matches).map(port => ({ endpoint, port, key: portKey(port) })),
  );
  for (const { key } of all) counts.set(key, (counts.get(key) ?? 0) + 1);
  const answers = new Map<string, DnsRecord>();
  const ips = new Map<string, string[]>();
  for (const { endpoint, port, key } of all) {
    const target = targetOf(endpoint);
    const weight = weightAmong(counts.get(key) ?? 1);
    answers.set(`${target} ${port.port}`, { name, ttl, type: TYPE.SRV, priority: 0, weight, port: port.port, target });
    const own = ips.get(target);
    if (own === undefined) ips.set(target, [endpoint.ip]);
    else own.push(endpoint.ip);
  }
  const additional = [...ips].flatMap(([target, list]) => addressRecords({ name: target, type: TYPE.SRV, ttl }, list));
  return { answers: [...answers.values()], additional };
}

function portKey({ port, protocol }: DnsPort): string {
  return `${port} ${protocol}`;
}

function weightAmong(count: number): number {
  return Math.max(1, Math.floor(WEIGHTS / Math.max(1, count)));
}
