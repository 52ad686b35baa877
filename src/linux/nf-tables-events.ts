/** Who changes nf_tables beside us: the kernel's group of events, in which each transaction's changes are followed by its generation. */
import { attributesIn, type Message, messagesIn, textOf } from '../netfilter/attributes.ts';
import { GENERATION_ID, NFT } from '../netfilter/messages.ts';
import { prepareSocket } from './netlink-socket.ts';
import { isOwnPort } from './nf-tables.ts';
import { closeNetfilter, openNetfilter } from './nfnetlink.ts';

/** NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h */
const GROUP = 7;
/** Events of some 50 000 elements. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;

export interface NftEventsOptions {
  readonly table: string;
  /**
   * Another process changed the table in a family (NFPROTO_IPV4 …); undefined: events were lost, and it may be any.
   */
  readonly onForeign: (family: number | undefined) => void;
}

/** Follows the events until it is disposed. Those of this process's own sockets don't count. */
export class NftEvents implements Disposable {
  readonly #options: NftEventsOptions;
  readonly #changed = new Set<number>();
  #generation: number | undefined;
  #isClosed = false;
  #close: (() => void) | undefined;

  private constructor(options: NftEventsOptions) {
    this.#options = options;
  }

  /** @throws NetlinkError where the kernel gives no such socket */
  static async open(options: NftEventsOptions): Promise<NftEvents> {
    const events = new NftEvents(options);
    const socket = await openNetfilter('nf_tables events');
    try {
      // First: an overflow of a socket without this ends the process.
      await prepareSocket(socket, { receive: RECEIVE_BUFFER_BYTES });
      socket.addMembership(GROUP);
    } catch (error) {
      closeNetfilter(socket);
      throw error;
    }
    socket.on('message', bytes => {
      for (const message of messagesIn(bytes)) events.#take(message);
    });
    socket.on('error', () => options.onForeign(undefined));
    socket.on('truncatedMessage', () => options.onForeign(undefined));
    events.#close = () => closeNetfilter(socket);
    return events;
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#close?.();
    this.#close = undefined;
  }

  #take(message: Message): void {
    if (this.#isClosed) return;
    if (message.type === NFT.newGeneration) {
      this.#takeGeneration(message);
      return;
    }
    if (isOwnPort(message.port)) return;
    const table = attributesIn(message.payload).get(1);
    if (table !== undefined && textOf(table) === this.#options.table) this.#changed.add(message.family);
  }

  /** The end of a transaction. A number left out is one whose events didn't fit into the buffer. */
  #takeGeneration({ payload }: Message): void {
    const generation = attributesIn(payload).get(GENERATION_ID)?.readUInt32BE(0);
    const isNext = this.#generation === undefined || generation === ((this.#generation + 1) >>> 0 || 1);
    this.#generation = generation;
    const families: (number | undefined)[] = isNext ? [...this.#changed] : [undefined];
    this.#changed.clear();
    for (const family of families) this.#options.onForeign(family);
  }
}
