/**
 * rtnetlink(7), synchronously: the kernel does its work inside the system call that sends, and its answers wait when that returns. For threads that
 * serve nothing else meanwhile. Constants are of include/uapi/linux/netlink.h.
 */
import { getSystemErrorName } from 'node:util';
import { attributesIn, hostWord, type Message, messagesIn, readHostWord, textOf } from '../netfilter/attributes.ts';
import { encodeRequests, FLAG, HEADER, type RouteRequest } from '../rtnetlink/encoding.ts';
import type { Libc } from './libc.ts';
import { NetlinkError, NLMSG_ERROR, TIMEOUT_MS } from './nfnetlink.ts';

const [AF_NETLINK, SOCK_RAW, SOCK_CLOEXEC, NETLINK_ROUTE] = [16, 3, 0x80000, 0];
const [SOL_SOCKET, SO_RCVTIMEO, SO_RCVBUFFORCE] = [1, 20, 33];
const SOL_NETLINK = 270;
const [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK] = [10, 11, 12];
const NLMSG_DONE = 3;
/** Of an answer: attributes follow; the dump was cut short by a change. */
const [ACK_TLVS, INTERRUPTED] = [0x200, 0x10];
const NLMSGERR_ATTR_MSG = 1;
/** nlmsgerr with the header of the request only. */
const ERROR_HEADER = HEADER + 4 + HEADER;
/** The kernel gives up to this much of a dump at once. */
const RECEIVE_BYTES = 32_768;
const EVENT_BUFFER_BYTES = 1024 * 1024;
const TRIES = 8;

/** What wiring needs of the kernel. */
export interface RouteKernel {
  /**
   * Sends all, in one go and in order, and gives the messages that answer. One that is refused doesn't keep the kernel from those behind it.
   * @throws NetlinkError of the first that was refused, with the kernel's words
   */
  send(requests: readonly RouteRequest[]): readonly Message[];
  /** The messages that answer a dump. @throws NetlinkError */
  dump(request: RouteRequest): readonly Message[];
  close(): void;
}

/** Opens a netlink socket of this thread's network namespace; multicast `groups` as bits, `timeoutMs` of an answer. @throws NetlinkError */
export function openRouteDescriptor(
  libc: Libc,
  { groups = 0, timeoutMs = TIMEOUT_MS, protocol = NETLINK_ROUTE } = {},
): number {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) throw failure(libc, 'socket');
  const option = (level: number, name: number, value: Buffer) => libc.setsockopt(fd, level, name, value, value.length);
  // Of these the kernel may lack some: then errors say less, and dumps more.
  for (const name of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) option(SOL_NETLINK, name, hostWord(1));
  if (groups !== 0) option(SOL_SOCKET, SO_RCVBUFFORCE, hostWord(EVENT_BUFFER_BYTES));
  option(SOL_SOCKET, SO_RCVTIMEO, timeval(timeoutMs));
  const address = Buffer.concat([Buffer.from(new Uint16Array([AF_NETLINK, 0]).buffer), hostWord(0), hostWord(groups)]);
  if (libc.bind(fd, address, address.length) !== 0) {
    const error = failure(libc, 'bind');
    libc.close(fd);
    throw error;
  }
  return fd;
}

/** struct timeval: two longs. */
const timeval = (ms: number) =>
  Buffer.from(new BigInt64Array([BigInt(Math.floor(ms / 1000)), BigInt((ms % 1000) * 1000)]).buffer);

function failure(libc: Libc, op: string): NetlinkError {
  const errno = libc.errno();
  return new NetlinkError(op, errno, getSystemErrorName(-errno));
}

export class RouteSocket implements RouteKernel, Disposable {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(RECEIVE_BYTES);
  #sequence = 1;

  /** `protocol`: another one of netlink that speaks alike. @throws NetlinkError */
  constructor(libc: Libc, protocol = NETLINK_ROUTE) {
    this.#libc = libc;
    this.#fd = openRouteDescriptor(libc, { protocol });
  }

  send(requests: readonly RouteRequest[]): readonly Message[] {
    if (requests.length === 0) return [];
    const first = this.#sequence;
    this.#write(requests.map(request => ({ ...request, flags: request.flags | FLAG.ack })));
    const answers: Message[] = [];
    const refusals: NetlinkError[] = [];
    for (let open = requests.length; open > 0; ) {
      for (const message of this.#read()) {
        const request = requests[message.sequence - first];
        if (request === undefined) continue;
        if (message.type !== NLMSG_ERROR) {
          answers.push(message);
          continue;
        }
        open -= 1;
        const error = errorOf(message, request);
        if (error !== undefined) refusals.push(error);
      }
    }
    if (refusals[0] !== undefined) throw refusals[0];
    return answers;
  }

  dump(request: RouteRequest): readonly Message[] {
    for (let tries = 1; ; tries += 1) {
      const found = this.#dumpOnce(request);
      if (found !== undefined) return found;
      if (tries === TRIES) throw new NetlinkError(request.op, 0, 'it changes all the time');
    }
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** undefined when somebody changed what was told meanwhile. */
  #dumpOnce(request: RouteRequest): readonly Message[] | undefined {
    const sequence = this.#sequence;
    this.#write([request]);
    const found: Message[] = [];
    let isCut = false;
    for (;;) {
      for (const message of this.#read()) {
        if (message.sequence !== sequence) continue;
        isCut ||= (message.flags & INTERRUPTED) !== 0;
        if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
          found.push(message);
          continue;
        }
        const error = message.bytes.length >= HEADER + 4 ? errorOf(message, request) : undefined;
        if (error !== undefined) throw error;
        return isCut ? undefined : found;
      }
    }
  }

  #write(requests: readonly RouteRequest[]): void {
    const bytes = encodeRequests(requests, this.#sequence);
    this.#sequence += requests.length;
    if (this.#libc.send(this.#fd, bytes, bytes.length, 0) < 0) throw failure(this.#libc, 'send');
  }

  /** A copy, as the answers of one go may come in several parts. */
  #read(): Iterable<Message> {
    const length = Number(this.#libc.recv(this.#fd, this.#buffer, RECEIVE_BYTES, 0));
    if (length < 0) throw failure(this.#libc, 'recv');
    return messagesIn(Buffer.from(this.#buffer.subarray(0, length)));
  }
}

/** What an acknowledgement says; undefined = done, or fine all the same. */
function errorOf({ bytes, flags, type }: Message, { op, fine = [] }: RouteRequest): NetlinkError | undefined {
  const errno = -(readHostWord(bytes, HEADER) | 0);
  if (errno === 0 || fine.includes(errno)) return undefined;
  const hasWords = type === NLMSG_ERROR && (flags & ACK_TLVS) !== 0;
  const words = hasWords ? attributesIn(bytes.subarray(ERROR_HEADER)).get(NLMSGERR_ATTR_MSG) : undefined;
  const name = getSystemErrorName(-errno);
  return new NetlinkError(op, errno, words === undefined ? name : `${textOf(words)} (${name})`);
}
