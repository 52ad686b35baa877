/** Network namespaces of others, entered by the calling thread: for worker threads, which nobody else's work runs on. */
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import type { Libc } from './libc.ts';
import { NetlinkError } from './nfnetlink.ts';

const CLONE_NEWNET = 0x4000_0000;
const OWN = '/proc/thread-self/ns/net';

/** An open namespace: it lives as long as this does. */
export interface Netns extends Disposable {
  readonly fd: number;
  /** `device:inode`: the same for every path to it. */
  readonly identity: string;
}

/** @throws an error of the file system with its code; what isn't a namespace is told when it is entered */
export function openNetns(path: string): Netns {
  const fd = openSync(path, 'r');
  try {
    const { dev, ino } = fstatSync(fd);
    return { fd, identity: `${dev}:${ino}`, [Symbol.dispose]: () => closeSync(fd) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** What no function that goes on later may return. */
type Now<T> = T extends PromiseLike<unknown> ? never : T;

export class NetnsDoor implements Disposable {
  readonly #libc: Libc;
  readonly #home: Netns;

  /** The thread's namespace is the one that it returns to. */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.#home = openNetns(OWN);
  }

  get home(): Netns {
    return this.#home;
  }

  /**
   * Runs `work` with this thread in the namespace: sockets opened and /proc/sys/net written in it are the namespace's. It returns before this does, and
   * starts nothing that goes on, nor any thread. A thread that can't return would serve others from the pod's network, so the process ends then.
   * @throws NetlinkError when the namespace can't be entered (EINVAL: it is none), and what `work` throws
   */
  within<T>({ fd }: Netns, work: () => Now<T>): T {
    if (this.#libc.setns(fd, CLONE_NEWNET) !== 0) {
      const errno = this.#libc.errno();
      throw new NetlinkError('enter the network namespace', errno, getSystemErrorName(-errno));
    }
    try {
      return work();
    } finally {
      if (this.#libc.setns(this.#home.fd, CLONE_NEWNET) !== 0) {
        writeFileSync(2, "kproxy-ts: a thread can't leave a pod's network namespace\n");
        process.abort();
      }
    }
  }

  [Symbol.dispose](): void {
    this.#home[Symbol.dispose]();
  }
}

/** A setting below /proc/sys/net of the namespace that this thread is in. @throws an error of the file system */
export function readNetSysctl(name: string): string {
  return readFileSync(`/proc/sys/net/${name}`, 'utf8').trim();
}

export function writeNetSysctl(name: string, value: string): void {
  writeFileSync(`/proc/sys/net/${name}`, value);
}
