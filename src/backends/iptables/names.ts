import { hash as digest } from 'node:crypto';

/**
 * Names of chains, as kube-proxy builds them, because operators know them and so that either program can adopt the other's
 * rules: a prefix and the first 16 characters of the base32 of a SHA-256. The kernel's limit is 28 characters
 * (XT_EXTENSION_MAXNAMELEN); the longest here has 25.
 */
const HASH_LENGTH = 16;
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

export const CHAIN = {
  services: 'KUBE-SERVICES',
  externalServices: 'KUBE-EXTERNAL-SERVICES',
  nodePorts: 'KUBE-NODEPORTS',
  postrouting: 'KUBE-POSTROUTING',
  markMasq: 'KUBE-MARK-MASQ',
  forward: 'KUBE-FORWARD',
  /** kube-proxy's, in filter: what load balancer source ranges shut out. */
  proxyFirewall: 'KUBE-PROXY-FIREWALL',
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
/** One endpoint of one ServicePort; `endpoint` is endpointText. */
export const endpointChain = (text: string, protocol: string, endpoint: string) =>
  hashed('KUBE-SEP-', text, protocol, endpoint);

function hashed(prefix: string, text: string, protocol: string, endpoint = ''): string {
  return base32(prefix, digest('sha256', text + protocol.toLowerCase() + endpoint, 'buffer'));
}

/**
 * `prefix` and the RFC 4648 base32 of the first ten bytes, which is all that a name uses. Written into a buffer: text that is
 * put together piece by piece stays a tree of its pieces in memory, for each of 50 000 endpoints.
 */
function base32(prefix: string, bytes: Uint8Array): string {
  const text = Buffer.alloc(prefix.length + HASH_LENGTH);
  let at = text.write(prefix, 'latin1');
  let bits = 0;
  let value = 0;
  for (const byte of bytes.subarray(0, 10)) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text[at++] = BASE32.charCodeAt((value >>> bits) & 31);
    }
    value &= (1 << bits) - 1;
  }
  return text.toString('latin1');
}
