/** Which port of the node belongs to which attachment, over all networks. Pure. */
import { CniError, CODE, type HostPort } from '../types.ts';

interface Claim<Holder> {
  readonly hostIP: string;
  readonly holder: Holder;
}

/** As the scheduler sees it (k8s.io/kubernetes/pkg/scheduler/framework HostPortInfo): every address meets each of them. */
const EVERY_ADDRESS: ReadonlySet<string> = new Set(['', '0.0.0.0', '::']);

export class HostPortClaims<Holder> {
  readonly #claims = new Map<string, readonly Claim<Holder>[]>();
  readonly #describe: (holder: Holder) => string;

  constructor(describe: (holder: Holder) => string) {
    this.#describe = describe;
  }

  /** @throws CniError (102) that names who has one of them */
  check(ports: readonly HostPort[]): void {
    for (const [index, port] of ports.entries()) {
      const claim = this.#claims.get(portKey(port))?.find(({ hostIP }) => doMeet(hostIP, port.hostIP));
      if (claim !== undefined) throw taken(port, `is held by ${this.#describe(claim.holder)}`);
      const twin = ports
        .slice(0, index)
        .some(other => portKey(other) === portKey(port) && doMeet(other.hostIP, port.hostIP));
      if (twin) throw taken(port, 'is asked for twice');
    }
  }

  /** Without a check: what was granted before. */
  claim(ports: readonly HostPort[], holder: Holder): void {
    for (const port of ports) {
      const key = portKey(port);
      this.#claims.set(key, [...(this.#claims.get(key) ?? []), { hostIP: port.hostIP, holder }]);
    }
  }

  release(ports: readonly HostPort[], holder: Holder): void {
    for (const port of ports) {
      const key = portKey(port);
      const left = this.#claims.get(key)?.filter(claim => claim.holder !== holder) ?? [];
      if (left.length === 0) this.#claims.delete(key);
      else this.#claims.set(key, left);
    }
  }

  /** How many ports are claimed. */
  get size(): number {
    return this.#claims.size;
  }
}

function portKey({ protocol, hostPort }: HostPort): string {
  return `${protocol}/${hostPort}`;
}

function doMeet(a: string, b: string): boolean {
  return a === b || EVERY_ADDRESS.has(a) || EVERY_ADDRESS.has(b);
}

function taken({ hostIP, hostPort, protocol }: HostPort, reason: string): CniError {
  const address = hostIP === '' ? '' : `${hostIP.includes(':') ? `[${hostIP}]` : hostIP}:`;
  return new CniError(CODE.portTaken, `hostPort ${address}${hostPort}/${protocol} ${reason}`);
}
