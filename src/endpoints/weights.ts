import { cidrContains, parseCIDR } from '../net/cidr.ts';
import type { Endpoint, ServicePort } from './types.ts';

/**
 * The weight of each endpoint of a set, in their order: the smallest whole numbers in the proportion that the Service asks for.
 * 0 = no new connections; where nobody would weigh anything all weigh 1, since to refuse everybody is no use to anybody.
 * Where their sum would be more than MOST_SLOTS the proportion is kept as well as smaller numbers can: every unit is an element in the kernel.
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
  return scaled(weights.map(weight => (divisor === 0 ? 1 : weight / divisor)));
}

/** For all endpoints of a Service port together. */
const MOST_SLOTS = 4096;

function scaled(weights: readonly number[]): readonly number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (sum <= MOST_SLOTS) return weights;
  return weights.map(weight => (weight === 0 ? 0 : Math.max(1, Math.round((weight * MOST_SLOTS) / sum))));
}

/** Of 0 and a number, that number. */
function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
