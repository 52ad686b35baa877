/** The kernel's connection table of this network namespace: a stream of its entries, from which single ones are deleted. */
import {
  decodeFlow,
  encodeDelete,
  encodeDump,
  type Flow,
  type FlowFilter,
  isWanted,
  UDP,
} from './conntrack-messages.ts';
import {
  asNetlinkError,
  borrowNetfilter,
  closeNetfilter,
  giveBackNetfilter,
  HEADER,
  NetlinkError,
  NLMSG_ERROR,
  nativeReaders,
  type openNetfilter,
  TIMEOUT_MS,
} from './nfnetlink.ts';

const NLMSG_DONE = 3;
/** No such entry: it has expired, or it is another one that has the tuple now. */
const ENOENT = 2;
/**
 * Deletions that are sent together, before the answers to those are read: all of them refused must fit into the socket's
 * buffer, because an overflow ends the process (the binding can't tell us of it).
 */
const BATCH = 64;
/** So many stale entries end a pass through the table; another one finds the rest, so that memory has a bound. */
const PASS = 8192;

export interface Sweep {
  readonly filter: FlowFilter;
  /** Asked for each entry that the filter lets through; those that are stale are deleted. */
  readonly isStale: (flow: Flow) => boolean;
  readonly signal?: AbortSignal;
}

export interface SweepResult {
  /** Entries that were looked at. */
  readonly seen: number;
  readonly deleted: number;
}

/**
 * Goes through the table and deletes what is stale. The kernel filters, and gives the next part of a dump only when the one
 * before has been read, so nothing here grows with the table. The event loop gets its turn every few milliseconds.
 * @throws NetlinkError when the kernel refuses; what `signal` says when it is aborted.
 */
export async function sweepFlows({ filter, isStale, signal }: Sweep): Promise<SweepResult> {
  let [seen, deleted] = [0, 0];
  for (;;) {
    const stale: Flow[] = [];
    await dump(filter, signal, (buffer, at, end) => {
      const flow = decodeFlow(buffer, at, end, filter.protocol);
      if (flow === undefined || !isWanted(flow, filter)) return true;
      seen += 1;
      if (isStale(flow)) stale.push(flow);
      return stale.length < PASS;
    });
    const gone = stale.length === 0 ? 0 : await deleteFlows(stale, signal);
    deleted += gone;
    if (stale.length < PASS || gone === 0) return { seen, deleted };
  }
}

/** Deletes these entries; resolves to how many of them there still were. @throws NetlinkError */
async function deleteFlows(flows: readonly Flow[], signal: AbortSignal | undefined): Promise<number> {
  using deletion = new Deletion(await borrowNetfilter('IPCTNL_MSG_CT_DELETE'));
  let deleted = 0;
  for (let i = 0; i < flows.length; i += BATCH) {
    signal?.throwIfAborted();
    deleted += await deletion.send(flows.slice(i, i + BATCH));
  }
  return deleted;
}

/** Is shown a message; false = enough. */
type Visit = (buffer: Buffer, at: number, end: number) => boolean;

/** Calls `visit` for each message of the answer, up to the one that ends it. */
async function dump(filter: FlowFilter, signal: AbortSignal | undefined, visit: Visit): Promise<void> {
  const op = 'IPCTNL_MSG_CT_GET';
  signal?.throwIfAborted();
  const socket = await borrowNetfilter(op);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new NetlinkError(op, 0, 'no answer')), TIMEOUT_MS);
  const abort = () => reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  let isOver = false;
  let isAnswered = false;
  try {
    socket.on('error', error => reject(asNetlinkError(op, error)));
    socket.on('truncatedMessage', () => reject(new NetlinkError(op, 0, 'an answer larger than its buffer')));
    socket.on('message', buffer => {
      if (isOver) return;
      timer.refresh();
      try {
        const found = eachMessage(op, buffer, visit);
        isAnswered = found === 'end';
        isOver = found !== 'more';
        if (isOver) resolve();
      } catch (error) {
        reject(error);
      }
    });
    socket.send(encodeDump(filter));
    await promise;
  } finally {
    isOver = true;
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    if (isAnswered) giveBackNetfilter(socket);
    else closeNetfilter(socket);
  }
}

/** Calls `visit` for each message in the buffer: `end` = it has the last one, `enough` = no more are wanted. @throws NetlinkError */
function eachMessage(op: string, buffer: Buffer, visit: Visit): 'end' | 'enough' | 'more' {
  const read = nativeReaders(buffer);
  for (let at = 0; at + HEADER <= buffer.length; ) {
    const length = read.u32(at);
    if (length < HEADER || at + length > buffer.length) throw new NetlinkError(op, 0, 'an answer that is cut');
    const type = read.u16(at + 4);
    if (type === NLMSG_ERROR || type === NLMSG_DONE) {
      // A dump that fails after it began says so in the message that ends it.
      const errno = length < HEADER + 4 ? 0 : -read.i32(at + HEADER);
      if (errno !== 0) throw new NetlinkError(op, errno, `errno ${errno}`);
      return 'end';
    }
    if (!visit(buffer, at, at + length)) return 'enough';
    at += (length + 3) & ~3;
  }
  return 'more';
}

/** One batch of requests at a time, of which the last is acknowledged: the kernel answers in order, and refusals always. */
class Deletion implements Disposable {
  readonly #op = 'IPCTNL_MSG_CT_DELETE';
  readonly #socket: Awaited<ReturnType<typeof openNetfilter>>;
  #sequence = 0;
  #vanished = 0;
  #isAnswered = true;
  #answer = Promise.withResolvers<void>();

  constructor(socket: Awaited<ReturnType<typeof openNetfilter>>) {
    this.#socket = socket;
    socket.on('error', error => this.#answer.reject(asNetlinkError(this.#op, error)));
    socket.on('message', buffer => this.#receive(buffer));
  }

  /** Resolves to how many of the entries were there. @throws NetlinkError */
  async send(flows: readonly Flow[]): Promise<number> {
    this.#answer = Promise.withResolvers();
    this.#vanished = 0;
    this.#isAnswered = false;
    const requests = flows.map((flow, i) => {
      this.#sequence += 1;
      return encodeDelete(flow, { sequence: this.#sequence, isAcknowledged: i === flows.length - 1 });
    });
    const { promise, reject } = this.#answer;
    const late = setTimeout(() => reject(new NetlinkError(this.#op, 0, 'no answer')), TIMEOUT_MS);
    this.#socket.send(Buffer.concat(requests));
    await promise.finally(() => clearTimeout(late));
    this.#isAnswered = true;
    return flows.length - this.#vanished;
  }

  [Symbol.dispose](): void {
    if (this.#isAnswered) giveBackNetfilter(this.#socket);
    else closeNetfilter(this.#socket);
  }

  #receive(buffer: Buffer): void {
    const read = nativeReaders(buffer);
    for (let at = 0; at + HEADER + 4 <= buffer.length; at += Math.max((read.u32(at) + 3) & ~3, HEADER)) {
      if (read.u16(at + 4) !== NLMSG_ERROR) continue;
      const errno = -read.i32(at + HEADER);
      if (errno === ENOENT) this.#vanished += 1;
      else if (errno !== 0) this.#answer.reject(new NetlinkError(this.#op, errno, `errno ${errno}`));
      if (read.u32(at + 8) === this.#sequence) this.#answer.resolve();
    }
  }
}

/** Makes the kernel load conntrack and its netlink interface if they are modules and not there yet, by a question. @throws NetlinkError */
export async function loadConntrack(): Promise<void> {
  await sweepFlows({ filter: { family: 'IPv4', protocol: UDP, destinationPort: 0 }, isStale: () => false });
}
