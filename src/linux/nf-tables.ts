/**
 * nf_tables over netlink: batches that are committed as one transaction, and dumps. One socket, one request at a time; the kernel does its work inside
 * the system call that sends, and its answers wait when that returns.
 */
import { type Message, messagesIn, readHostWord } from '../netfilter/attributes.ts';
import { generationRequest } from '../netfilter/generation.ts';
import { NFT } from '../netfilter/messages.ts';
import { prepareSocket } from './netlink-socket.ts';
import {
  asNetlinkError,
  closeNetfilter,
  HEADER,
  NetlinkError,
  NLMSG_ERROR,
  openNetfilter,
  TIMEOUT_MS,
} from './nfnetlink.ts';

const NLMSG_DONE = 3;
/** Of a dump that somebody's commit cut short: NLM_F_DUMP_INTR. */
const INTERRUPTED = 0x10;
const EINTR = 4;

/** A message of a batch that the kernel refused; nothing of the batch is true then. */
export interface Refusal {
  /** Of the message; that of the batch's begin when the commit failed. */
  readonly sequence: number;
  readonly errno: number;
}

export interface NftKernel {
  /** The most bytes of one batch. */
  readonly batchBytes: number;
  /** Resolves to why nothing was committed; to nothing when all of it was. Rejects when the kernel can't be asked. */
  commit(batch: Buffer): Promise<readonly Refusal[]>;
  /** The messages that answer a dump. Rejects with NetlinkError, of errno ENOENT where there is no such table or set. */
  dump(request: Buffer): Promise<readonly Message[]>;
  close(): void;
}

/** What is asked for; the machine's limits don't count for CAP_NET_ADMIN. */
const SEND_BUFFER_BYTES = 16 * 1024 * 1024;
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
/** Of a batch: a fraction of the buffer, as the kernel counts its own structures too. */
const BATCH_BYTES = 4 * 1024 * 1024;

type Socket = Awaited<ReturnType<typeof openNetfilter>>;

const ownPorts = new Set<number>();
const EVENTS_MS = 10_000;

/** Whether the netlink socket at a port is one of this process's, which commit. The kernel names it in each event. */
export function isOwnPort(port: number): boolean {
  return ownPorts.has(port);
}

export class NftSocket implements NftKernel, Disposable {
  readonly batchBytes = BATCH_BYTES;
  #socket: Promise<Socket> | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #answer: ((message: Message) => void) | undefined;
  #fail: ((error: unknown) => void) | undefined;

  commit(batch: Buffer): Promise<readonly Refusal[]> {
    return this.#inTurn(() => this.#commit(batch));
  }

  dump(request: Buffer): Promise<readonly Message[]> {
    return this.#inTurn(() => this.#dump(request));
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    void socket?.then(
      open => {
        const { port } = open.address();
        closeNetfilter(open);
        // Its last events are still to be read by who listens; then the port may be another's.
        setTimeout(() => ownPorts.delete(port), EVENTS_MS).unref();
      },
      () => undefined,
    );
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #open(): Promise<Socket> {
    const socket = await openNetfilter('nf_tables');
    await prepareSocket(socket, { send: SEND_BUFFER_BYTES, receive: RECEIVE_BUFFER_BYTES });
    socket.on('message', bytes => {
      for (const message of messagesIn(bytes)) this.#answer?.(message);
    });
    socket.on('error', error => this.#fail?.(asNetlinkError('nf_tables', error)));
    ownPorts.add(socket.address().port);
    return socket;
  }

  async #request<T>(
    datagrams: readonly Buffer[],
    onMessage: (message: Message, done: (value: T) => void) => void,
  ): Promise<T> {
    this.#socket ??= this.#open();
    const socket = await this.#socket.catch(error => {
      this.#socket = undefined;
      throw error;
    });
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const timer = setTimeout(() => reject(new NetlinkError('nf_tables', 0, 'no answer')), TIMEOUT_MS);
    this.#answer = message => {
      timer.refresh();
      try {
        onMessage(message, resolve);
      } catch (error) {
        reject(error);
      }
    };
    this.#fail = reject;
    try {
      for (const datagram of datagrams) {
        socket.send(datagram, undefined, error => {
          if (error !== undefined) reject(asNetlinkError('nf_tables', error));
        });
      }
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#answer = undefined;
      this.#fail = undefined;
    }
  }

  /** A question for the generation follows the batch: its answer comes behind all of the batch's. */
  async #commit(batch: Buffer): Promise<readonly Refusal[]> {
    const refusals: Refusal[] = [];
    return this.#request<readonly Refusal[]>([batch, generationRequest()], (message, done) => {
      if (message.type === NFT.newGeneration) done(refusals);
      if (message.type !== NLMSG_ERROR) return;
      const errno = -(readHostWord(message.bytes, HEADER) | 0);
      if (errno !== 0) refusals.push({ sequence: message.sequence, errno });
    });
  }

  async #dump(request: Buffer): Promise<readonly Message[]> {
    const found: Message[] = [];
    let isCut = false;
    return this.#request<readonly Message[]>([request], (message, done) => {
      isCut ||= (message.flags & INTERRUPTED) !== 0;
      if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
        const errno = message.bytes.length >= HEADER + 4 ? -(readHostWord(message.bytes, HEADER) | 0) : 0;
        if (errno !== 0) throw new NetlinkError('nf_tables', errno, `the kernel refuses to tell (errno ${errno})`);
        if (isCut) throw new NetlinkError('nf_tables', EINTR, 'somebody changed the rules meanwhile');
        done(found);
        return;
      }
      found.push(message);
    });
  }
}
