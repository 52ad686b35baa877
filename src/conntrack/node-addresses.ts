import { networkInterfaces } from 'node:os';
import { cidrContains, parseCIDR } from '../net/cidr.ts';
import { canonicalIP, isLoopback } from '../net/ip.ts';

/** Which addresses are this node's own, as of now, and take NodePorts (`nodePortAddresses` of IptablesOptions). */
export function nodePortAddresses(allowed: 'all' | readonly string[]): (address: string) => boolean {
  const own = new Set<string>();
  for (const address of Object.values(networkInterfaces()).flatMap(addresses => addresses ?? [])) {
    own.add(canonicalIP(address.address) ?? '');
  }
  const cidrs = allowed === 'all' ? [] : allowed.flatMap(text => parseCIDR(text) ?? []);
  return address =>
    own.has(address) && !isLoopback(address) && (allowed === 'all' || cidrs.some(cidr => cidrContains(cidr, address)));
}
