import { endpointText } from '../../../src/endpoints/types.ts';
import { canonicalIP } from '../../../src/net/ip.ts';

export interface EndpointAddress {
  readonly ip: string;
  readonly port: number;
  /** Canonical. */
  readonly text: string;
}

/** Reads `10.0.0.1:80` or `[fd00::1]:80`. @throws TypeError for anything else */
export function parseEndpoint(text: string): EndpointAddress {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const ip = canonicalIP(bracketed ?? plain ?? '');
  if (ip === undefined) throw new TypeError(`not an endpoint: ${text}`);
  return { ip, port: Number(port), text: endpointText({ ip, port: Number(port) }) };
}
