import { isDeepStrictEqual } from 'node:util';
import type { OwnServer } from '../../endpoints/types.ts';
import type { ServedAddress } from '../node-address/tables.ts';

export interface OwnServerFacts {
  /** DNS is, by the configuration. */
  readonly enabled: boolean;
  /** The DNS Service's namespace/name. */
  readonly service: string;
  /** The node's addresses. */
  readonly ips: readonly string[];
}

/**
 * Whether this node's server is to be left out of the DNS Service's endpoints: while packets to the Service's addresses are delivered on this node, and
 * before it is known whether they will be, because it doesn't answer yet. Once DNS has been disabled it stays out for as long as the process lives, because the
 * endpoint does.
 */
export class OwnEndpoint {
  readonly #onChange: () => void;
  #served: readonly ServedAddress[] = [];
  #hasServed = false;
  #isDecided = false;
  /** What whoever plans was told last. */
  #told: OwnServer | undefined;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** The Service's addresses that are delivered on this node. */
  get served(): readonly ServedAddress[] {
    return this.#served;
  }

  /** For whoever plans; undefined = it is an endpoint as any other. */
  tell(facts: OwnServerFacts): OwnServer | undefined {
    this.#told = this.#ownServer(facts);
    return this.#told;
  }

  /** The Service's addresses are delivered on this node, or not, from now on. */
  note(addresses: readonly ServedAddress[], facts: OwnServerFacts): void {
    this.#served = addresses;
    this.#hasServed ||= addresses.length > 0;
    this.#isDecided = true;
    this.look(facts);
  }

  /** The facts may be others. */
  look(facts: OwnServerFacts): void {
    if (!isDeepStrictEqual(this.#told, this.#ownServer(facts))) this.#onChange();
  }

  #ownServer({ enabled, service, ips }: OwnServerFacts): OwnServer | undefined {
    const isOut = this.#served.length > 0 || (enabled ? !this.#isDecided : this.#hasServed);
    return isOut ? { service, ips } : undefined;
  }
}
