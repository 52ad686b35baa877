/**
 * What the netlink package doesn't set on a socket, through setsockopt(2): larger buffers, and that an overflow isn't reported by poll, which would end the
 * process (the binding throws in a native callback). Loaded at the first socket that needs it.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { hostWord } from '../netfilter/attributes.ts';
import { NETLINK_NETFILTER, NetlinkError } from './nfnetlink.ts';

/** Of include/uapi/asm-generic/socket.h and linux/netlink.h. */
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const NETLINK_CAP_ACK = 10;

export interface NetlinkBuffers {
  /** Bytes; the kernel doubles them for its own book-keeping. */
  readonly send?: number;
  readonly receive?: number;
}

/**
 * Sets these buffers, whatever the machine's limits are (that takes CAP_NET_ADMIN), short acknowledgements, and that messages that don't fit into
 * the receive buffer are dropped without a word. @throws NetlinkError where that can't be done
 */
export async function prepareSocket(
  socket: { address(): { port: number } },
  { send, receive }: NetlinkBuffers,
): Promise<void> {
  const fd = await descriptorOf(socket.address().port);
  const set = await setsockopt();
  const apply = (level: number, name: number, value: number) => {
    if (set(fd, level, name, hostWord(value), 4) !== 0)
      throw new NetlinkError('setsockopt', 0, `option ${name} refused (larger buffers need CAP_NET_ADMIN)`);
  };
  apply(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
  apply(SOL_NETLINK, NETLINK_CAP_ACK, 1);
  if (send !== undefined) apply(SOL_SOCKET, SO_SNDBUFFORCE, send);
  if (receive !== undefined) apply(SOL_SOCKET, SO_RCVBUFFORCE, receive);
}

type Setsockopt = (fd: number, level: number, name: number, value: Buffer, length: number) => number;
let loaded: Setsockopt | undefined;

async function setsockopt(): Promise<Setsockopt> {
  if (loaded !== undefined) return loaded;
  const { default: koffi } = await import('koffi');
  const declared = koffi
    .load('libc.so.6')
    .func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
  loaded = declared as unknown as Setsockopt;
  return loaded;
}

/** Messages that the kernel couldn't keep for the netfilter socket at a port. */
export async function dropsAt(port: number): Promise<number> {
  return Number((await listingOf(port)).drops);
}

/** This process's descriptor of the netfilter socket that is bound to a port: the binding keeps it to itself, the kernel lists it. */
async function descriptorOf(port: number): Promise<number> {
  const { inode } = await listingOf(port);
  for (const name of await readdir('/proc/self/fd')) {
    const target = await readlink(`/proc/self/fd/${name}`).catch(() => '');
    if (target === `socket:[${inode}]`) return Number(name);
  }
  throw new NetlinkError('netlink socket', 0, `no descriptor has the socket at port ${port}`);
}

/** From /proc/net/netlink: sk, Eth (the protocol), Pid (the port), Groups, Rmem, Wmem, Dump, Locks, Drops, Inode. */
async function listingOf(port: number): Promise<{ readonly drops: string; readonly inode: string }> {
  for (const line of (await readFile('/proc/self/net/netlink', 'latin1')).split('\n')) {
    const [, protocol, owner, , , , , , drops, inode] = line.trim().split(/\s+/);
    const isIt = protocol === String(NETLINK_NETFILTER) && owner === String(port);
    if (isIt && drops !== undefined && inode !== undefined) return { drops, inode };
  }
  throw new NetlinkError('netlink socket', 0, `the kernel lists no socket at port ${port}`);
}
