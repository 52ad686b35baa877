/** The names of what serves DNS at the addresses of its Service, in families ip and ip6. Pure. */

/** Lasts as long as the addresses are this node's: what keeps them from being more than addresses of that one server. */
export const GUARD_TABLE = 'kproxy-ts-dns';

/** One of each process; the kernel deletes it with the process. */
export function serverTable(id: string): string {
  return `${GUARD_TABLE}-${id}`;
}

export const SETS = {
  /** The addresses. */
  addresses: 'addresses',
  /** address, protocol, port: where the server answers while it can */
  ports: 'ports',
  /** The same, for SERVING_MS after each sign of life. */
  serving: 'serving',
  /** client's address and port, ours: TCP connections whose first packet came to this server */
  connections: 'connections',
} as const;

export const CHAINS = {
  arriving: 'arriving',
  sent: 'sent-by-node',
  connections: 'tcp-connections',
  otherPorts: 'other-ports',
  sources: 'sources',
} as const;
