/**
 * The pools of all networks. Ranges that a configuration names are its network's: another one may give the same addresses again. Those of the Node are every
 * network's, and an address of them is given once on the node, whatever its network is called: it must be free in all pools. Pure.
 */
import { AddressPool, type Allocation, type AllocationRequest, type PoolOptions } from './pool.ts';

export class AddressPools {
  readonly #options: PoolOptions<string>;
  readonly #networks = new Map<string, AddressPool<string>>();
  /** What any network has: who has an address here is one of those who have it. */
  readonly #node: AddressPool<string>;

  constructor(options: PoolOptions<string>) {
    this.#options = options;
    this.#node = new AddressPool(options);
  }

  /** By name. Those that nobody asked for aren't there. */
  get networks(): ReadonlyMap<string, AddressPool<string>> {
    return this.#networks;
  }

  /** To be looked at: what changes in it has to change in all, by the methods here. */
  of(network: string): AddressPool<string> {
    const known = this.#networks.get(network);
    if (known !== undefined) return known;
    const pool = new AddressPool(this.#options);
    this.#networks.set(network, pool);
    return pool;
  }

  /** The pool in which an address must be free. */
  giving(network: string, isOfNode: boolean): AddressPool<string> {
    return isOfNode ? this.#node : this.of(network);
  }

  /** @throws CniError (100, 101) */
  allocate(network: string, { isOfNode, ...request }: AllocationRequest & { readonly isOfNode: boolean }) {
    return this.giving(network, isOfNode).allocate(request);
  }

  /** As a pool's `take`; what rested in other networks doesn't any more: those places are `ended`. */
  take(
    network: string,
    { allocations, holder, isOfNode }: { allocations: readonly Allocation[]; holder: string; isOfNode: boolean },
  ): { readonly setKeys: readonly string[]; readonly ended: readonly (readonly [network: string, ip: string])[] } {
    const setKeys = this.of(network).take(allocations, holder);
    if (!isOfNode) {
      for (const { ip } of allocations) this.#follow(ip);
      return { setKeys, ended: [] };
    }
    this.#node.take(allocations, holder);
    const ended = [...this.#networks].flatMap(([name, pool]) =>
      allocations.filter(({ ip }) => pool.restingSince(ip) !== undefined).map(({ ip }) => [name, ip] as const),
    );
    for (const [name, ip] of ended) this.of(name).free(ip);
    return { setKeys, ended };
  }

  /** @throws CniError (101) when another one of the network holds it */
  hold(network: string, ip: string, holder: string): void {
    this.of(network).hold(ip, holder);
    this.#follow(ip);
  }

  free(network: string, ip: string): void {
    this.of(network).free(ip);
    this.#follow(ip);
  }

  /** @param sinceMs not before the rest of any other began */
  rest(network: string, ip: string, sinceMs: number): void {
    this.of(network).rest(ip, sinceMs);
    this.#follow(ip, sinceMs);
  }

  /** Of this network; which those were. */
  endRests(network: string, nowMs: number): readonly string[] {
    this.#node.endRests(nowMs);
    return this.of(network).endRests(nowMs);
  }

  /** The search goes on behind `ip`, whichever kind of range that is. */
  moveTo(network: string, setKey: string, ip: string): void {
    this.of(network).moveTo(setKey, ip);
    this.#node.moveTo(setKey, ip);
  }

  /** Makes the node's pool say of an address what the networks' say. */
  #follow(ip: string, sinceMs?: number): void {
    const pools = [...this.#networks.values()];
    const holders = pools.flatMap(pool => pool.holderOf(ip) ?? []);
    const [holder] = holders;
    const known = this.#node.holderOf(ip);
    if (known !== undefined && holders.includes(known)) return;
    const since = sinceMs ?? pools.map(pool => pool.restingSince(ip)).find(each => each !== undefined);
    if (holder === undefined && since !== undefined) {
      if (this.#node.restingSince(ip) === undefined) this.#node.rest(ip, since);
      return;
    }
    this.#node.free(ip);
    if (holder !== undefined) this.#node.hold(ip, holder);
  }
}
