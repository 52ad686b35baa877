import { cidrContains, parseCIDR } from '../net/cidr.ts';
import type { Endpoint, ServicePort } from './types.ts';

/**
 * The weight of each endpoint of a set, in their order: the smallest whole numbers in the proportion that the Service asks for.
 * 0 = no new connections; where nobody would weigh anything all weigh 1, since to refuse everybody is no use to anybody.
 */
export function weightsOf(
  endpoints: readonly Pick<Endpoint, 'ip'>[],
  { endpointWeights }: Pick<ServicePort, 'endpointWeights'>,
): readonly number[] {
  if (endpointWeights.length === 0) return endpoints.map(() => 1);
  // The narrowest range first: it is the one that counts.
  const ranges = endpointWeights
    .flatMap(({ cidr, weight }) => {
      const range = parseCIDR(cidr);
      return range === undefined ? [] : [{ range, weight }];
    })
    .sort((a, b) => b.range.prefixLength - a.range.prefixLength);
  const weights = endpoints.map(({ ip }) => ranges.find(({ range }) => cidrContains(range, ip))?.weight ?? 1);
  const divisor = weights.reduce(greatestCommonDivisor, 0);
  return weights.map(weight => (divisor === 0 ? 1 : weight / divisor));
}

/** Of 0 and a number, that number. */
function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
