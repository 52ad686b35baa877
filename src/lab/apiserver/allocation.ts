/** Pools of cluster IPs and nodePorts: what is free, and the refusals of pkg/registry/core/service/{ip,port}allocator. */
import { type Cidr, familyOf, formatAddress, offsetIn } from './addresses.ts';

/** Numbers 0..size-1, handed out in turn so that a freed one isn't reused at once. */
class NumberPool {
  readonly #taken = new Set<number>();
  readonly #size: number;
  readonly #first: number;
  #cursor: number;

  /** Numbers below `first` are handed out only when asked for, or when nothing else is left. */
  constructor(size: number, first: number) {
    this.#size = size;
    this.#first = first;
    this.#cursor = first;
  }

  take(number: number): boolean {
    if (this.#taken.has(number)) return false;
    this.#taken.add(number);
    return true;
  }

  release(number: number): void {
    this.#taken.delete(number);
  }

  next(): number | undefined {
    for (let tried = 0; tried < this.#size && this.#taken.size < this.#size; tried += 1) {
      const number = this.#cursor;
      this.#cursor = number + 1 === this.#size ? 0 : number + 1;
      if (this.take(number)) return number;
      if (tried === this.#size - this.#first) this.#cursor = 0;
    }
    return undefined;
  }
}

/** Addresses of one service CIDR. The network's own address and, for IPv4, the broadcast address are never used. */
export class AddressPool {
  readonly cidr: Cidr;
  readonly #numbers: NumberPool;
  readonly #capacity: number;

  constructor(cidr: Cidr) {
    this.cidr = cidr;
    this.#capacity = Math.max(0, cidr.size - (cidr.family === 'IPv4' ? 2 : 1));
    // The lower band is left for addresses that people choose, as since Kubernetes 1.24.
    const band = this.#capacity < 16 ? 0 : Math.min(256, Math.max(16, Math.floor(this.#capacity / 16)));
    this.#numbers = new NumberPool(this.#capacity, band);
  }

  /** The first usable address: that of the `kubernetes` Service. */
  get first(): string {
    return this.#format(0);
  }

  /** A free address, undefined when the range is full. */
  next(): string | undefined {
    const number = this.#numbers.next();
    return number === undefined ? undefined : this.#format(number);
  }

  /** Takes a chosen address; returns why that can't be, undefined when it is taken now. */
  take(address: string): string | undefined {
    const number = (offsetIn(this.cidr, address) ?? 0) - 1;
    if (number < 0 || number >= this.#capacity) {
      const range = `The range of valid IPs is ${this.cidr.text}`;
      return `failed to allocate IP ${address}: the provided IP (${address}) is not in the valid range. ${range}`;
    }
    return this.#numbers.take(number)
      ? undefined
      : `failed to allocate IP ${address}: provided IP is already allocated`;
  }

  release(address: string): void {
    if (familyOf(address) !== this.cidr.family) return;
    const offset = offsetIn(this.cidr, address);
    if (offset !== undefined) this.#numbers.release(offset - 1);
  }

  #format(number: number): string {
    return formatAddress(this.cidr.family, this.cidr.base + BigInt(number) + 1n);
  }
}

/** The nodePorts of the cluster, first and last included. */
export class PortPool {
  readonly #first: number;
  readonly #last: number;
  readonly #numbers: NumberPool;

  constructor([first, last]: readonly [number, number]) {
    this.#first = first;
    this.#last = last;
    const size = last - first + 1;
    // Static band as in KEP-3668.
    this.#numbers = new NumberPool(size, size < 16 ? 0 : Math.min(128, Math.max(16, Math.floor(size / 32))));
  }

  next(): number | undefined {
    const number = this.#numbers.next();
    return number === undefined ? undefined : this.#first + number;
  }

  /** Takes a chosen port; returns why that can't be, undefined when it is taken now. */
  take(port: number): string | undefined {
    if (port < this.#first || port > this.#last) {
      return `provided port is not in the valid range. The range of valid ports is ${this.#first}-${this.#last}`;
    }
    return this.#numbers.take(port - this.#first) ? undefined : 'provided port is already allocated';
  }

  release(port: number): void {
    this.#numbers.release(port - this.#first);
  }
}
