/** Sockets of this thread's network namespace that take connections or datagrams, by sock_diag(7). Source: include/uapi/linux/{sock_diag,inet_diag}.h. */

import { canonicalIP } from '../net/ip.ts';
import { FLAG, HEADER, u32 } from '../rtnetlink/encoding.ts';
import type { Libc } from './libc.ts';
import { NetlinkError } from './nfnetlink.ts';
import { RouteSocket } from './route-socket.ts';

export interface Listener {
  readonly protocol: 'tcp' | 'udp';
  /** Canonical; `::` takes IPv4 too, as a rule. */
  readonly ip: string;
  readonly port: number;
}

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const FAMILIES = { IPv4: 2, IPv6: 10 } as const;
/** TCP_LISTEN, and TCP_CLOSE, in which unconnected UDP sockets are, as bits. */
const PROTOCOLS = [
  { protocol: 'tcp', number: 6, states: 1 << 10 },
  { protocol: 'udp', number: 17, states: 1 << 7 },
] as const;
/** struct inet_diag_sockid */
const SOCKET_ID = 48;
/** ENOENT: the kernel tells nothing of this protocol. */
const ENOENT = 2;

/** Costs what listens, not what is connected. @throws NetlinkError */
export function listeners(libc: Libc): readonly Listener[] {
  using socket = new RouteSocket(libc, NETLINK_SOCK_DIAG);
  return PROTOCOLS.flatMap(({ protocol, number, states }) =>
    Object.values(FAMILIES).flatMap(family => {
      const head = Buffer.concat([Buffer.of(family, number, 0, 0), u32(states), Buffer.alloc(SOCKET_ID)]);
      const request = { op: 'list the sockets', type: SOCK_DIAG_BY_FAMILY, flags: FLAG.dump, head, attributes: [] };
      return listOf(() => socket.dump(request)).map(({ bytes }) => ({ protocol, ...readPlace(bytes) }));
    }),
  );
}

function listOf<T>(dump: () => readonly T[]): readonly T[] {
  try {
    return dump();
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === ENOENT) return [];
    throw error;
  }
}

/** struct inet_diag_msg: family, state, timer, retransmissions, then ports and addresses, in network byte order. */
function readPlace(bytes: Buffer): { readonly ip: string; readonly port: number } {
  const at = HEADER + 4;
  const address = bytes.subarray(at + 4, at + 20);
  const text =
    bytes[HEADER] === FAMILIES.IPv4
      ? [...address.subarray(0, 4)].join('.')
      : (address.toString('hex').match(/.{4}/g) ?? []).join(':');
  return { ip: canonicalIP(text) ?? text, port: bytes.readUInt16BE(at) };
}
