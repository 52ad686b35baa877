/** The gateways of addresses that another IPAM plugin gave. Pure. */
import { addressOfValue, addressValue } from '../../net/address-value.ts';
import { parseCIDR } from '../../net/cidr.ts';
import { refuse } from './reader.ts';

interface GivenAddress {
  /** With prefix length. */
  readonly address: string;
  readonly gateway?: string;
}

/**
 * With the first address of its network as the gateway of each that names none, as the reference plugin has it (plugins/main/bridge/bridge.go, calcGateways).
 * @throws CniError 7 where that is the pod's own
 */
export function withGateways(addresses: readonly GivenAddress[]): readonly GivenAddress[] {
  const taken = new Set(addresses.map(({ address }) => withoutLength(address)));
  return addresses.map(each => {
    const gateway = each.gateway ?? firstOf(each.address);
    if (gateway === undefined) return each;
    if (each.gateway === undefined && taken.has(gateway))
      refuse('ipam', `gives the pod ${gateway}, which is the gateway of ${each.address} as none is named`);
    return { ...each, gateway };
  });
}

const withoutLength = (cidr: string) =>
  parseCIDR(`${cidr.replace(/\/.*/, '')}/${cidr.includes(':') ? 128 : 32}`)?.address;

/** undefined where there is none: of the last network of one address. */
function firstOf(cidr: string): string | undefined {
  const network = parseCIDR(cidr);
  if (network === undefined) return undefined;
  const first = addressValue(network.address) + 1n;
  return first >> (network.family === 'IPv4' ? 32n : 128n) === 0n ? addressOfValue(network.family, first) : undefined;
}
