/** A Service as names see it. Plain data, which threads can send each other. Pure. */
import { labelOfAddress } from './reverse.ts';

export interface DnsPort {
  /** '' = unnamed: no SRV record of its own. */
  readonly name: string;
  /** TCP, UDP or SCTP. */
  readonly protocol: string;
  readonly port: number;
}

/** Endpoints with the same ports, those of a slice: one text, because an object for each would cost ten times its memory. */
export interface DnsEndpointGroup {
  readonly ports: readonly DnsPort[];
  /** A line for each endpoint: its canonical address and, behind a space, its label where that isn't made of the address. Never empty. */
  readonly packed: string;
}

/** An address behind a Service that is ready, or published though it isn't. */
export interface DnsEndpoint {
  readonly ip: string;
  /** The first label of its own name. */
  readonly label: string;
  readonly ports: readonly DnsPort[];
}

export interface DnsService {
  readonly namespace: string;
  readonly name: string;
  readonly kind: 'cluster-ip' | 'headless' | 'external-name';
  /** Canonical. */
  readonly clusterIPs: readonly string[];
  /** Lower case, without the closing dot; '' of the other kinds. */
  readonly externalName: string;
  readonly ports: readonly DnsPort[];
  readonly groups: readonly DnsEndpointGroup[];
}

/** @param label undefined = made of the address */
export function packedEndpoint(ip: string, label?: string): string {
  return label === undefined ? ip : `${ip} ${label}`;
}

/** Their addresses alone, which is what most want to know; one may come twice. */
export function* endpointIPs({ groups }: DnsService): Iterable<string> {
  for (const { packed } of groups) {
    for (const line of packed.split('\n')) {
      const space = line.indexOf(' ');
      yield space === -1 ? line : line.slice(0, space);
    }
  }
}

export function* endpointsOf({ groups }: DnsService): Iterable<DnsEndpoint> {
  for (const { ports, packed } of groups) {
    for (const line of packed.split('\n')) {
      const space = line.indexOf(' ');
      const ip = space === -1 ? line : line.slice(0, space);
      yield { ip, label: space === -1 ? labelOfAddress(ip) : line.slice(space + 1), ports };
    }
  }
}

export function endpointCount({ groups }: DnsService): number {
  return groups.reduce((count, { packed }) => count + packed.split('\n').length, 0);
}
