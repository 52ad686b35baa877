import { hash as digest } from 'node:crypto';

/**
 * Names of chains, as kube-proxy builds them, because operators know them and so that either program can adopt the other's
 * rules: a prefix and the first 16 characters of the base32 of a SHA-256. The kernel's limit is 28 characters
 * (XT_EXTENSION_MAXNAMELEN); the longest here has 25.
 */
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

export const CHAIN = {
  services: 'KUBE-SERVICES',
  externalServices: 'KUBE-EXTERNAL-SERVICES',
  nodePorts: 'KUBE-NODEPORTS',
  postrouting: 'KUBE-POSTROUTING',
  markMasq: 'KUBE-MARK-MASQ',
  forward: 'KUBE-FORWARD',
  /** In filter: what source ranges shut out. */
  proxyFirewall: 'KUBE-PROXY-FIREWALL',
  /** In filter: keeps the network away from 127.0.0.0/8 while route_localnet is on. */
  localnet: 'KUBE-PROXY-LOCALNET',
} as const;

const PER_SERVICE = /^KUBE-(?:SVC|SVL|EXT|FW|SEP)-[A-Z2-7]{16}$/;

/** Whether a chain belongs to one ServicePort or endpoint. */
export function isServiceChain(name: string): boolean {
  return PER_SERVICE.test(name);
}

/** Endpoints for policy Cluster. `text` is servicePortText. */
export const clusterPolicyChain = (text: string, protocol: string) => hashed('KUBE-SVC-', text, protocol);
/** Endpoints for policy Local. */
export const localPolicyChain = (text: string, protocol: string) => hashed('KUBE-SVL-', text, protocol);
/** Where traffic from outside enters. */
export const externalChain = (text: string, protocol: string) => hashed('KUBE-EXT-', text, protocol);
/** Which sources may use the load balancer addresses. */
export const firewallChain = (text: string, protocol: string) => hashed('KUBE-FW-', text, protocol);
/** Which sources may use the NodePort. kube-proxy has no such chain; in its names an endpoint has a colon, so none is taken twice. */
export const nodePortFirewallChain = (text: string, protocol: string) => hashed('KUBE-FW-', text, protocol, 'nodeport');
/** One endpoint of one ServicePort; `endpoint` is endpointText. */
export const endpointChain = (text: string, protocol: string, endpoint: string) =>
  hashed('KUBE-SEP-', text, protocol, endpoint);

/** The list of clients of one endpoint address, shared by all ports of a Service: no chain, but a name of xt_recent. */
export const affinityList = (service: string, ip: string) => hashed('KUBE-AFF-', service, '', ip);

function hashed(prefix: string, text: string, protocol: string, endpoint = ''): string {
  return base32(prefix, digest('sha256', text + protocol.toLowerCase() + endpoint));
}

const PAIRS: readonly string[] = [...BASE32].flatMap(first => [...BASE32].map(second => first + second));

/**
 * `prefix` and the RFC 4648 base32 of the first ten bytes of a hexadecimal digest, which is all that a name uses: five digits make four
 * characters. Joined at once: text that is put together piece by piece stays a tree of its pieces in memory, for each of 50 000 endpoints.
 */
function base32(prefix: string, hex: string): string {
  const parts: (string | undefined)[] = [prefix];
  for (let at = 0; at < 20; at += 5) {
    const bits = Number.parseInt(hex.slice(at, at + 5), 16);
    parts.push(PAIRS[bits >> 10], PAIRS[bits & 1023]);
  }
  return parts.join('');
}
