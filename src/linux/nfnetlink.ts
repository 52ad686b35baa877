/**
 * Netfilter over netlink: what no command-line tool tells cheaply. Beside addresses.ts and loopback-addresses.ts the only importer of netlink, which is loaded at the first
 * question: it needs native code, and a process that never asks shall not pay for it.
 * Constants are of include/uapi/linux/netlink.h and include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h.
 */
import { endianness } from 'node:os';

export const NETLINK_NETFILTER = 12;
export const NLMSG_ERROR = 2;
export const NLM_F_REQUEST = 1;
/** Subsystem NFNL_SUBSYS_NFTABLES, message NFT_MSG_GETGEN. */
const GETGEN = (10 << 8) | 16;
const NFTA_GEN_ID = 1;
/** nlmsghdr, then nfgenmsg. */
export const HEADER = 16;
export const PAYLOAD = HEADER + 4;
/** The kernel answers within the system call that asks. */
export const TIMEOUT_MS = 5000;
/** Of one message of a dump; the kernel fills what it is offered, up to 32 kB. Half of that is read in about a millisecond. */
const DUMP_BUFFER_BYTES = 32_768;

/** The kernel refused a request, or its answer makes no sense. `errno` is 0 for the latter. */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError';
  readonly op: string;
  readonly errno: number;

  constructor(op: string, errno: number, why: string) {
    super(`${op}: ${why}`);
    this.op = op;
    this.errno = errno;
  }
}

/**
 * The generation of nf_tables in this network namespace: a number that every commit of anybody raises by one (32 bits, and
 * then from 1 again). @throws NetlinkError where the kernel has no nf_tables or doesn't let us ask.
 */
export async function readGeneration(): Promise<number> {
  const socket = await borrowNetfilter('NFT_MSG_GETGEN');
  const answer = Promise.withResolvers<Buffer>();
  const timer = setTimeout(() => answer.reject(new NetlinkError('NFT_MSG_GETGEN', 0, 'no answer')), TIMEOUT_MS);
  try {
    socket.on('message', message => answer.resolve(message));
    socket.on('error', answer.reject);
    socket.send(getGeneration());
    const generation = parseGeneration(await answer.promise);
    giveBackNetfilter(socket);
    return generation;
  } catch (error) {
    closeNetfilter(socket);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** A socket to netfilter, of this process's network namespace. @throws NetlinkError where the kernel gives none. */
export async function openNetfilter(op: string) {
  const { RawNetlinkSocket } = await import('netlink/dist/raw.js');
  try {
    // Sizes of 0 leave the system's own.
    const options = { messagePeeking: false, msgBufferSize: DUMP_BUFFER_BYTES, recvBufferSize: 0, sendBufferSize: 0 };
    return new RawNetlinkSocket(NETLINK_NETFILTER, options);
  } catch (error) {
    throw asNetlinkError(op, error);
  }
}

/**
 * Closes a socket once its callbacks have returned: the binding goes on with a socket after calling us, and one that was
 * closed from inside a callback while a message waited to be sent ends the process.
 */
export function closeNetfilter(socket: { close(): void }): void {
  setImmediate(() => socket.close());
}

type Netfilter = Awaited<ReturnType<typeof openNetfilter>>;

/** Sockets that nobody uses now, and what closes them. */
const idle = new Map<Netfilter, NodeJS.Timeout>();
const IDLE_MS = 500;

/**
 * A socket for questions that come often. To close a socket of netfilter keeps all commits to nf_tables of this network namespace waiting until the kernel has freed what those before
 * took away, for tens of milliseconds (nft_rcv_nl_event of net/netfilter/nf_tables_api.c): so it is kept for the next question. @throws NetlinkError
 */
export async function borrowNetfilter(op: string): Promise<Netfilter> {
  for (const [socket, closing] of idle) {
    idle.delete(socket);
    clearTimeout(closing);
    return socket;
  }
  return openNetfilter(op);
}

/** Takes it back, when all that it was asked is answered; else it is to be closed. */
export function giveBackNetfilter(socket: Netfilter): void {
  socket.removeAllListeners();
  const close = () => {
    idle.delete(socket);
    closeNetfilter(socket);
  };
  socket.on('error', close);
  idle.set(socket, setTimeout(close, IDLE_MS));
}

/** For a thread that ends: an open socket keeps it alive. */
export function closeIdleNetfilter(): void {
  for (const [socket, closing] of idle) {
    clearTimeout(closing);
    closeNetfilter(socket);
  }
  idle.clear();
}

/** An error of the socket, as its class says it: with the number if it has one. */
export function asNetlinkError(op: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') return error;
  return new NetlinkError(op, Math.abs(error.errno), error.message);
}

/** The request: no attributes, any family. Netlink headers are in the machine's byte order. */
function getGeneration(): Buffer {
  const message = Buffer.alloc(PAYLOAD);
  const write = nativeWriters(message);
  write.u32(0, message.length);
  write.u16(4, GETGEN);
  write.u16(6, NLM_F_REQUEST);
  return message;
}

/** The generation in the answer; attributes of nf_tables are in network byte order. */
export function parseGeneration(message: Buffer): number {
  const read = nativeReaders(message);
  if (message.length >= PAYLOAD && read.u16(4) === NLMSG_ERROR) {
    const errno = -read.i32(HEADER);
    throw new NetlinkError('NFT_MSG_GETGEN', errno, `errno ${errno}`);
  }
  for (let at = PAYLOAD; at + 8 <= message.length; at += Math.max((read.u16(at) + 3) & ~3, 4)) {
    if (read.u16(at + 2) === NFTA_GEN_ID) return message.readUInt32BE(at + 4);
  }
  throw new NetlinkError('NFT_MSG_GETGEN', 0, 'an answer without a generation');
}

const isLittle = endianness() === 'LE';

/** Netlink's own numbers are in the machine's byte order. */
export function nativeReaders(buffer: Buffer) {
  return {
    u32: (at: number) => (isLittle ? buffer.readUInt32LE(at) : buffer.readUInt32BE(at)),
    u16: (at: number) => (isLittle ? buffer.readUInt16LE(at) : buffer.readUInt16BE(at)),
    i32: (at: number) => (isLittle ? buffer.readInt32LE(at) : buffer.readInt32BE(at)),
  };
}

export function nativeWriters(buffer: Buffer) {
  return {
    u16: (at: number, value: number) => (isLittle ? buffer.writeUInt16LE(value, at) : buffer.writeUInt16BE(value, at)),
    u32: (at: number, value: number) => (isLittle ? buffer.writeUInt32LE(value, at) : buffer.writeUInt32BE(value, at)),
  };
}
