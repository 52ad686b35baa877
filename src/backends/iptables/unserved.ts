import type { ServicePort } from '../../endpoints/types.ts';

/**
 * What a Service may ask for and iptables rules don't do: their choice of an endpoint is one of chance, the same for each. Weights could
 * be had by other probabilities, but one change would then rewrite the rules of all endpoints; a hash of the source has no match that
 * keeps clients when endpoints change.
 */
export function unserved({ balancing, endpointWeights }: ServicePort): readonly string[] {
  const lines: string[] = [];
  if (balancing === 'source-hash') {
    lines.push(
      'annotation kproxy-ts.dev/load-balancing: needs the nftables mode; any endpoint is chosen for a connection here',
    );
  }
  if (endpointWeights.length > 0) {
    lines.push('annotation kproxy-ts.dev/endpoint-weights: needs the nftables mode; all endpoints weigh the same here');
  }
  return lines;
}
