/** What the agent's own IPAM will give, as far as the configuration alone tells. Pure. */
import type { CniIP } from '../types.ts';
import { isObject, type Json } from './json.ts';

/** An address's subnet for each range set; none where the configuration names no range, and the node's are given. */
export function promisedAddresses({ ipam, runtimeConfig }: Json): readonly CniIP[] {
  const { ranges, subnet } = isObject(ipam) ? ipam : {};
  const { ipRanges } = isObject(runtimeConfig) ? runtimeConfig : {};
  const first = [...listOf(ipRanges), ...listOf(ranges)].map(set => listOf(set)[0]);
  return [subnet, ...first.map(range => (isObject(range) ? range.subnet : undefined))].flatMap(said =>
    typeof said === 'string' && said !== '' ? [{ address: said }] : [],
  );
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
