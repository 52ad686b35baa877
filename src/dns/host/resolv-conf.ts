/** resolv.conf(5): whom this machine asks for names. Pure. */
import { canonicalIP } from '../../net/ip.ts';
import type { UpstreamServer } from '../settings.ts';

const DNS_PORT = 53;
/** MAXNS: the C library takes no more. */
const MOST_SERVERS = 3;

/** The nameservers, in their order; what is no address is left out. */
export function nameservers(text: string): readonly UpstreamServer[] {
  const addresses = text.split('\n').flatMap(line => {
    const [keyword, value = ''] = line.trim().split(/\s+/);
    const address = keyword === 'nameserver' ? canonicalIP(value) : undefined;
    return address === undefined ? [] : [address];
  });
  return [...new Set(addresses)].slice(0, MOST_SERVERS).map(address => ({ address, port: DNS_PORT }));
}
