/** Who changes nf_tables beside us: the kernel's group of events, in which each transaction's changes are followed by its generation. */
import { attributesIn, type Message, messagesIn, textOf } from '../netfilter/attributes.ts';
import { NFT } from '../netfilter/messages.ts';
import { dropsAt, prepareSocket } from './netlink-socket.ts';
import { isOwnPort } from './nf-tables.ts';
import { closeNetfilter, openNetfilter } from './nfnetlink.ts';

/** NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h */
const GROUP = 7;
/** Events of some 400 000 elements. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;

export interface NftEventsOptions {
  readonly table: string;
  /** Another process changed the table in this family (NFPROTO_IPV4 …). */
  readonly onForeign: (family: number) => void;
  /** For tests: what the kernel keeps for us while we are busy. */
  readonly receiveBytes?: number;
}

/** Follows the events until it is disposed. Those of this process's own sockets don't count. */
export class NftEvents implements Disposable {
  readonly #options: NftEventsOptions;
  readonly #changed = new Set<number>();
  readonly #socket: Awaited<ReturnType<typeof openNetfilter>>;
  #drops = 0;
  #isClosed = false;

  private constructor(options: NftEventsOptions, socket: Awaited<ReturnType<typeof openNetfilter>>) {
    this.#options = options;
    this.#socket = socket;
    socket.on('message', bytes => {
      for (const message of messagesIn(bytes)) this.#take(message);
    });
  }

  /** @throws NetlinkError where the kernel gives no such socket */
  static async open(options: NftEventsOptions): Promise<NftEvents> {
    const socket = await openNetfilter('nf_tables events');
    try {
      // First: an overflow of a socket without this ends the process.
      await prepareSocket(socket, { receive: options.receiveBytes ?? RECEIVE_BUFFER_BYTES });
      const events = new NftEvents(options, socket);
      socket.addMembership(GROUP);
      return events;
    } catch (error) {
      closeNetfilter(socket);
      throw error;
    }
  }

  /** Whether events were lost since this was asked last, because there were more than the kernel keeps for us. */
  async haveLost(): Promise<boolean> {
    const drops = await dropsAt(this.#socket.address().port);
    const haveLost = drops !== this.#drops;
    this.#drops = drops;
    return haveLost;
  }

  [Symbol.dispose](): void {
    if (!this.#isClosed) closeNetfilter(this.#socket);
    this.#isClosed = true;
  }

  #take(message: Message): void {
    if (this.#isClosed) return;
    if (message.type === NFT.newGeneration) {
      // The end of a transaction.
      const families = [...this.#changed];
      this.#changed.clear();
      for (const family of families) this.#options.onForeign(family);
      return;
    }
    if (isOwnPort(message.port)) return;
    const table = attributesIn(message.payload).get(1);
    if (table !== undefined && textOf(table) === this.#options.table) this.#changed.add(message.family);
  }
}
