/**
 * Removes links without the thread's waiting for it: the kernel takes tens of milliseconds until the last user of a link has let go of it, and says that the
 * link is out of the namespace long before. Links that are to go at the same time go with one request.
 */
import type { Libc } from '../../linux/libc.ts';
import { NetlinkError, NLMSG_ERROR } from '../../linux/nfnetlink.ts';
import { openRouteDescriptor } from '../../linux/route-socket.ts';
import { messagesIn, readHostWord } from '../../netfilter/attributes.ts';
import { encodeRequests, FLAG, HEADER } from '../../rtnetlink/encoding.ts';
import { changeLink, deleteGroup, deleteLink, isLinkRemoval, linkIndexOf } from '../../rtnetlink/links.ts';

/** Bit of RTNLGRP_LINK. */
const LINK_EVENTS = 1;
/** Of links that are going, 'kpgo': nobody else's. */
const GOING = 0x6b70_676f;
const RECEIVE_BYTES = 65_536;
const ENODEV = 19;
/** After which who listens looks whether there is anything to come. */
const HEARING_MS = 250;

interface Wanted {
  readonly index: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Each request keeps a thread of libuv's pool until the kernel is done with all of it; those that wait meanwhile go with the next one. */
const MOST_AT_ONCE = 4;

export class Removals {
  readonly #libc: Libc;
  #waiting: Wanted[] = [];
  #running = 0;
  /** By index, until the kernel tells that they are gone or their request has returned. */
  readonly #going = new Map<number, Wanted>();
  #events: number | undefined;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** Resolves when the links are out of the namespace; one that isn't there is fine. @throws NetlinkError */
  async remove(indexes: readonly number[]): Promise<void> {
    const gone = indexes.map(
      index => new Promise<void>((resolve, reject) => this.#waiting.push({ index, resolve, reject })),
    );
    // Those of the same turn go together.
    queueMicrotask(() => void this.#next());
    await Promise.all(gone);
  }

  async #next(): Promise<void> {
    if (this.#running === MOST_AT_ONCE || this.#waiting.length === 0) return;
    const wanted = this.#waiting.splice(0);
    this.#running += 1;
    try {
      for (const each of wanted) this.#going.set(each.index, each);
      this.#listen();
      await removeBatch(this.#libc, wanted);
      for (const { resolve } of wanted) resolve();
    } catch (error) {
      for (const { reject } of wanted) reject(error);
    }
    for (const each of wanted) if (this.#going.get(each.index) === each) this.#going.delete(each.index);
    this.#running -= 1;
    await this.#next();
  }

  /** One listens for all. @throws NetlinkError */
  #listen(): void {
    if (this.#events !== undefined) return;
    const fd = openRouteDescriptor(this.#libc, { groups: LINK_EVENTS, timeoutMs: HEARING_MS });
    this.#events = fd;
    // What isn't heard is told by the end of its request.
    void this.#hear(fd).finally(() => {
      this.#events = undefined;
      this.#libc.close(fd);
    });
  }

  /** Resolves what is told to be gone, until nothing is going. */
  async #hear(fd: number): Promise<void> {
    const buffer = Buffer.allocUnsafe(RECEIVE_BYTES);
    while (this.#going.size > 0) {
      const length = await this.#libc.recvAsync(fd, buffer);
      // Nothing for a while, or an overflow.
      if (length < 0) continue;
      for (const message of messagesIn(buffer.subarray(0, length))) {
        if (!isLinkRemoval(message)) continue;
        const index = linkIndexOf(message);
        this.#going.get(index)?.resolve();
        this.#going.delete(index);
      }
    }
  }
}

/** Resolves when the request has returned. @throws NetlinkError */
async function removeBatch(libc: Libc, wanted: readonly Wanted[]): Promise<void> {
  const fd = openRouteDescriptor(libc);
  try {
    await request(libc, fd, wanted);
  } finally {
    libc.close(fd);
  }
}

/** One request at a time in the batch: those that move links into the group, then the one that removes it. */
async function request(libc: Libc, fd: number, wanted: readonly Wanted[]): Promise<void> {
  const [only] = wanted;
  if (only === undefined) return;
  const removal = wanted.length === 1 ? deleteLink(only.index) : deleteGroup(GOING);
  const moves = wanted.length === 1 ? [] : wanted.map(({ index }) => changeLink(index, { group: GOING }));
  const all = [...moves, removal].map(each => ({ ...each, flags: each.flags | FLAG.ack }));
  await libc.sendAsync(fd, encodeRequests(all, 1));
  const buffer = Buffer.allocUnsafe(RECEIVE_BYTES);
  for (let open = all.length; open > 0; ) {
    const length = Number(libc.recv(fd, buffer, buffer.length, 0));
    if (length < 0) throw new NetlinkError('remove links', libc.errno(), 'no answer');
    for (const { type, bytes } of messagesIn(buffer.subarray(0, length))) {
      if (type !== NLMSG_ERROR) continue;
      open -= 1;
      const errno = -(readHostWord(bytes, HEADER) | 0);
      if (errno !== 0 && errno !== ENODEV) throw new NetlinkError('remove links', errno, `errno ${errno}`);
    }
  }
}
