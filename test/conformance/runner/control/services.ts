/** Groups about what becomes of a Service object: through the border, then servicePortsOf. */
import { servicePortsOf } from '../../../../src/endpoints/service-ports.ts';
import { endpointText, type ServicePort } from '../../../../src/endpoints/types.ts';
import { canonicalCIDR } from '../../../../src/net/cidr.ts';
import { canonicalIP, type IPFamily } from '../../../../src/net/ip.ts';
import { trimService } from '../../../../src/watch/trim.ts';
import { parseEndpoint } from '../endpoint-text.ts';
import { compared, type Result } from '../result.ts';
import type { Fields } from '../vector-files.ts';
import { casesOf } from './cases.ts';

const FAMILIES = ['IPv4', 'IPv6'] as const;
const PORT = { name: 'p', port: 80, protocol: 'TCP' };

/** What one family's proxy makes of a Service with this spec. */
function portsOf(spec: Fields, status: Fields, family: IPFamily): readonly ServicePort[] {
  const metadata = { namespace: 'default', name: 'service' };
  const { object } = trimService({ apiVersion: 'v1', kind: 'Service', metadata, spec, status });
  return object === undefined ? [] : servicePortsOf(object, family);
}

interface ClusterIPCase {
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly want: IPFamily;
  readonly expect: string;
}

export function playClusterIPByFamily(group: Fields): Result[] {
  return casesOf<ClusterIPCase>(group).map(({ want, expect, ...addresses }) => {
    const [port] = portsOf({ ...addresses, ports: [PORT] }, {}, want);
    return compared(`${JSON.stringify(addresses)} ${want}`, expect, port?.clusterIP ?? '');
  });
}

interface SkipCase {
  readonly type: string | null;
  readonly clusterIP: string;
  readonly skip: boolean;
}

export function playShouldSkipService(group: Fields): Result[] {
  return casesOf<SkipCase>(group).map(({ type, clusterIP, skip }) => {
    const spec = { ...(type === null ? {} : { type }), clusterIP, ports: [PORT] };
    const isSkipped = FAMILIES.every(family => portsOf(spec, {}, family).length === 0);
    return compared(`${type} ${clusterIP}`, skip, isSkipped);
  });
}

type ExpectedPort = string | ({ readonly id: string } & Fields);

interface MapCase {
  readonly name: string;
  readonly family: IPFamily;
  readonly service: Fields;
  readonly expect: readonly ExpectedPort[];
}

export function playServiceMap(group: Fields): Result[] {
  return casesOf<MapCase>(group).map(({ name, family, service, expect }) => {
    const { ingress = [], ...spec } = service;
    const ports = portsOf(spec, { loadBalancer: { ingress } }, family);
    const wanted = expect.map(port => (typeof port === 'string' ? { id: port } : port));
    const fields = new Map(wanted.map(port => [canonicalId(port.id), Object.keys(port)]));
    // Of a port that nobody expects, only that it's there.
    const seen = ports.map(port => picked(port, fields.get(idOf(port)) ?? ['id']));
    return compared(name, byId(wanted.map(canonical)), byId(seen));
  });
}

function idOf({ clusterIP, port, name }: ServicePort): string {
  return `${endpointText({ ip: clusterIP, port })}/${name.protocol}`;
}

function canonicalId(id: string): string {
  const [address = '', protocol] = id.split('/');
  return `${parseEndpoint(address).text}/${protocol}`;
}

function picked(port: ServicePort, names: readonly string[]): Fields {
  const all: Fields = { ...port, id: idOf(port) };
  return Object.fromEntries(names.map(name => [name, sortedIfList(all[name] ?? `no field ${name}`)]));
}

/** The expected port with addresses as the product writes them. */
function canonical(port: { readonly id: string } & Fields): Fields {
  const entries = Object.entries(port).map(([name, value]) => {
    if (name === 'id') return [name, canonicalId(port.id)];
    return [name, sortedIfList(Array.isArray(value) ? value.map(canonicalText) : value)];
  });
  return Object.fromEntries(entries) as Fields;
}

function canonicalText(value: unknown): unknown {
  return typeof value === 'string' ? (canonicalIP(value) ?? canonicalCIDR(value) ?? value) : value;
}

function sortedIfList(value: unknown): unknown {
  return Array.isArray(value) ? value.toSorted() : value;
}

function byId(ports: readonly Fields[]): readonly Fields[] {
  return ports.toSorted((a, b) => String(a.id).localeCompare(String(b.id)));
}
