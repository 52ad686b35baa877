import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { removeTable } from '../../backends/nftables/removal.ts';
import { isTableIntact } from '../../backends/nftables/table-batch.ts';
import { addLoopbackAddress, ownLoopbackAddresses, removeLoopbackAddress } from '../../linux/loopback-addresses.ts';
import { type NftKernel, NftSocket } from '../../linux/nf-tables.ts';
import type { Logger } from '../../log.ts';
import { type IPFamily, ipFamily } from '../../net/ip.ts';
import { GUARD_TABLE, SETS } from './names.ts';
import { othersServe } from './others.ts';
import { guardTable, type ServedAddress, serverTableSpec, type TableSpec, type WatchedAddress } from './tables.ts';
import { emptySet, NodeAddressError, writeTables } from './transaction.ts';

/** The addresses that this network namespace has on `lo`, as far as they are ours. */
export interface Loopback {
  add(ip: string): Promise<void>;
  remove(ip: string): Promise<void>;
  own(): Promise<readonly string[]>;
}

/** By which the server shows that it answers; the sockets may be in another thread. */
export interface Signs {
  /** Has a socket at each address of a family, and no others. The addresses are this node's already. */
  follow(family: IPFamily, addresses: readonly ServedAddress[]): Promise<readonly WatchedAddress[]>;
  /** Resolves when none is under way. */
  given(): Promise<void>;
}

export interface NodeAddressesOptions {
  readonly log: Logger;
  readonly signs: Signs;
  readonly kernel?: NftKernel;
  readonly loopback?: Loopback;
}

const LOOPBACK: Loopback = { add: addLoopbackAddress, remove: removeLoopbackAddress, own: ownLoopbackAddresses };
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

/**
 * Has the packets to the DNS Service's addresses delivered on this node, to the server of this process, while that is healthy: after `set`, the server binds
 * exactly these addresses and ports, over UDP and TCP, and gives a sign of life at least three times a second for as long as it answers. Otherwise, and after the end of the
 * process, whatever ends it, they go where the proxy sends them. Several processes may do so at once. docs/dns.md says how it works.
 */
export class NodeAddresses implements AsyncDisposable {
  readonly #log: Logger;
  readonly #kernel: NftKernel;
  readonly #loopback: Loopback;
  readonly #id = randomBytes(4).toString('hex');
  readonly #signs: Signs;
  readonly #tables = new Map<IPFamily, TableSpec>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor({ log, signs, kernel = new NftSocket(), loopback = LOOPBACK }: NodeAddressesOptions) {
    this.#log = log;
    this.#signs = signs;
    this.#kernel = kernel;
    this.#loopback = loopback;
  }

  /**
   * Exactly these addresses from now on, canonical; none = none. Puts back what somebody took away. What one IP family can't have is no
   * obstacle to the other. @throws NodeAddressError
   */
  set(addresses: readonly ServedAddress[]): Promise<void> {
    return this.#inTurn(async () => {
      const errors: unknown[] = [];
      for (const family of FAMILIES) {
        const wanted = addresses.filter(({ ip }) => ipFamily(ip) === family);
        await this.#setFamily(family, wanted).catch(error => errors.push(error));
      }
      if (errors.length === 0) return;
      const why = errors.map(error => (error instanceof Error ? error.message : String(error))).join('; ');
      const cause = errors.length === 1 ? errors[0] : new AggregateError(errors);
      throw new NodeAddressError(`the DNS Service is not served on this node: ${why}`, { cause });
    });
  }

  /**
   * New questions go elsewhere from now on, until the next sign of life; TCP connections that are here stay. Another process's server isn't affected.
   * @throws NodeAddressError
   */
  withdraw(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#signs.given();
      for (const table of this.#tables.values()) await emptySet(this.#kernel, table, SETS.serving);
    });
  }

  /** Whether the servers of other processes are healthy at all that this one serves; false while it serves nothing. @throws NetlinkError */
  isFollowed(): Promise<boolean> {
    return this.#inTurn(async () => {
      const tables = [...this.#tables.values()];
      const all = await Promise.all(tables.map(table => othersServe(this.#kernel, table)));
      return all.length > 0 && all.every(Boolean);
    });
  }

  /** Ends what this process does. The addresses stay, for the next one; see removeNodeAddresses. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#inTurn(async () => {
      try {
        for (const family of FAMILIES) await this.#stopServing(family);
      } finally {
        this.#kernel.close();
      }
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** The guard is there before an address is, and longer. */
  async #setFamily(family: IPFamily, wanted: readonly ServedAddress[]): Promise<void> {
    const ips = [...new Set(wanted.map(({ ip }) => ip))];
    const own = (await this.#loopback.own()).filter(ip => ipFamily(ip) === family);
    const unwanted = own.filter(ip => !ips.includes(ip));
    if (ips.length + own.length > 0) await this.#guard(family, [...ips, ...unwanted]);
    for (const ip of ips) await this.#loopback.add(ip);
    const added = ips.filter(ip => !own.includes(ip));
    if (added.length > 0) this.#log.info({ addresses: added }, 'addresses of the DNS Service are on this node');
    await this.#serve(family, wanted);
    if (unwanted.length > 0) await this.#leave(family, unwanted);
    if (unwanted.length > 0 && ips.length > 0) await this.#guard(family, ips);
    if (ips.length === 0) await removeTable({ kernel: this.#kernel, family, table: GUARD_TABLE });
  }

  async #guard(family: IPFamily, ips: readonly string[]): Promise<void> {
    const spec = guardTable(family, ips);
    if (!(await isTableIntact(this.#kernel, spec))) await writeTables(this.#kernel, [{ spec, isAnew: true }]);
  }

  async #leave(family: IPFamily, ips: readonly string[]): Promise<void> {
    for (const ip of ips) await this.#loopback.remove(ip);
    this.#log.info({ family, addresses: ips }, 'addresses are no longer those of the DNS Service: gone from this node');
  }

  /** Nobody but this process can change the table: the kernel sees to that. */
  async #serve(family: IPFamily, wanted: readonly ServedAddress[]): Promise<void> {
    const addresses = await this.#signs.follow(family, wanted);
    if (addresses.length === 0) return this.#stopServing(family);
    const spec = serverTableSpec(family, { id: this.#id, pid: process.pid, addresses });
    if (isDeepStrictEqual(spec, this.#tables.get(family))) return;
    await writeTables(this.#kernel, [{ spec, isAnew: false }]);
    this.#tables.set(family, spec);
  }

  async #stopServing(family: IPFamily): Promise<void> {
    const table = this.#tables.get(family);
    this.#tables.delete(family);
    if (table !== undefined) await removeTable({ kernel: this.#kernel, family, table: table.name });
  }
}
