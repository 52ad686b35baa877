import { networkInterfaces } from 'node:os';
import { cidrContains, parseCIDR } from '../net/cidr.ts';
import { canonicalIP, isLoopback } from '../net/ip.ts';

export interface NodePortAddresses {
  readonly nodePortAddresses: 'all' | readonly string[];
  readonly hasLocalhostNodePorts: boolean;
}

/** Which addresses are this node's own, as of now, and take NodePorts (as IptablesOptions say). */
export function nodePortAddresses(options: NodePortAddresses): (address: string) => boolean {
  const { nodePortAddresses: allowed, hasLocalhostNodePorts } = options;
  const own = new Set<string>();
  for (const address of Object.values(networkInterfaces()).flatMap(addresses => addresses ?? [])) {
    own.add(canonicalIP(address.address) ?? '');
  }
  const cidrs = allowed === 'all' ? [] : allowed.flatMap(text => parseCIDR(text) ?? []);
  // All of 127.0.0.0/8 is local, though an interface has only one of it.
  const isOwn = (address: string) => (isLoopback(address) ? hasLocalhostNodePorts : own.has(address));
  const isAllowed = (address: string) => allowed === 'all' || cidrs.some(cidr => cidrContains(cidr, address));
  return address => isOwn(address) && isAllowed(address);
}
