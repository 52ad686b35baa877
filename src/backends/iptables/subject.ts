import { type Endpoint, endpointText, type ServicePort, servicePortText } from '../../endpoints/types.ts';
import { affinityList, endpointChain } from './names.ts';

/** The names and words that all rules of one ServicePort share. */
export interface Subject {
  readonly port: ServicePort;
  readonly text: string;
  /** Lower case, as iptables writes it. */
  readonly protocol: string;
  /** The name of an endpoint's chain. */
  readonly chainOf: (endpoint: Endpoint) => string;
  /** The name of the list of clients that session affinity sends to an endpoint. */
  readonly listOf: (endpoint: Endpoint) => string;
}

export function subjectOf(port: ServicePort): Subject {
  const text = servicePortText(port.name);
  const protocol = port.name.protocol.toLowerCase();
  const chainOf = namer(text, protocol);
  const service = `${port.name.namespace}/${port.name.name}`;
  const listOf = port.isAffinityShared ? ({ ip }: Endpoint) => affinityList(service, ip) : chainOf;
  return { port, text, protocol, chainOf, listOf };
}

/** Hashes each endpoint once: that is what planning spends most on. */
function namer(text: string, protocol: string): Subject['chainOf'] {
  const names = new Map<Endpoint, string>();
  return endpoint => {
    const known = names.get(endpoint);
    if (known !== undefined) return known;
    const name = endpointChain(text, protocol, endpointText(endpoint));
    names.set(endpoint, name);
    return name;
  };
}
