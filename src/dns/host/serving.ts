import { ownLoopbackAddresses } from '../../linux/loopback-addresses.ts';
import type { Logger } from '../../log.ts';
import { NodeAddresses } from '../node-address/node-addresses.ts';
import type { ServedAddress } from '../node-address/tables.ts';
import { NodeAddressError } from '../node-address/transaction.ts';
import type { Workers } from './workers.ts';

/** The DNS Service's addresses on this node, for the workers of this process. */
export class Serving {
  readonly #log: Logger;
  #node: NodeAddresses | undefined;
  #workers: Workers | undefined;
  #complaint = '';

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Exactly these are on the node from now on; those that are. What can't be done is told once, and others answer. */
  async set(workers: Workers, addresses: readonly ServedAddress[]): Promise<readonly ServedAddress[]> {
    this.#workers = workers;
    // Where none is wanted none may be left of a process before.
    if (this.#node === undefined && addresses.length === 0 && (await ownLoopbackAddresses()).length === 0) return [];
    try {
      this.#node ??= this.#newNode();
      await this.#node.set(addresses);
      this.#complaint = '';
      return addresses;
    } catch (error) {
      if (!(error instanceof NodeAddressError)) throw error;
      if (error.message !== this.#complaint) this.#log.error({ err: error }, `${error.message}; its endpoints answer`);
      this.#complaint = error.message;
      return [];
    }
  }

  /** New questions go to the Service's endpoints from now on. To be called before the sockets close. */
  async withdraw(): Promise<void> {
    await this.#node?.withdraw();
  }

  /** Whether another process answers at all that this one serves. @throws NetlinkError */
  async isFollowed(): Promise<boolean> {
    return (await this.#node?.isFollowed()) ?? false;
  }

  /** The addresses stay, for the next process. */
  async end(): Promise<void> {
    await this.#node?.[Symbol.asyncDispose]();
    this.#node = undefined;
  }

  #newNode(): NodeAddresses {
    const current = () => {
      if (this.#workers === undefined) throw new TypeError('signs of life of no worker');
      return this.#workers;
    };
    return new NodeAddresses({
      log: this.#log,
      signs: {
        follow: async (family, addresses) => current().follow(family, addresses),
        given: async () => current().still(),
      },
    });
  }
}
