/** Which port of the node belongs to which attachment, over all networks: in each family for itself. Pure. */
import { type IPFamily, ipFamily, isUnspecified } from '../../net/ip.ts';
import { CniError, CODE, type HostPort } from '../types.ts';

interface Claim<Holder> {
  readonly hostIP: string;
  readonly holder: Holder;
}

/** The ports that one attachment has or wants, and the families of its addresses. */
export interface PortsOfPod {
  readonly hostPorts: readonly HostPort[];
  readonly families: ReadonlySet<IPFamily>;
}

export class HostPortClaims<Holder> {
  readonly #claims = new Map<string, readonly Claim<Holder>[]>();
  readonly #describe: (holder: Holder) => string;

  constructor(describe: (holder: Holder) => string) {
    this.#describe = describe;
  }

  /** @throws CniError (102) that names who has one of them */
  check({ hostPorts, families }: PortsOfPod): void {
    for (const [index, port] of hostPorts.entries()) {
      const holder = this.holderOf(port, families);
      if (holder !== undefined) throw taken(port, `is held by ${this.#describe(holder)}`);
      const places = placesOf(port, families);
      const twin = hostPorts
        .slice(0, index)
        .some(
          other => placesOf(other, families).some(place => places.includes(place)) && doMeet(other.hostIP, port.hostIP),
        );
      if (twin) throw taken(port, 'is asked for twice');
    }
  }

  /** Of a port at an address that meets this one's, in one of the families. */
  holderOf(port: HostPort, families: ReadonlySet<IPFamily>): Holder | undefined {
    const claims = placesOf(port, families).flatMap(place => this.#claims.get(place) ?? []);
    return claims.find(({ hostIP }) => doMeet(hostIP, port.hostIP))?.holder;
  }

  /** Without a check: what was granted before. */
  claim({ hostPorts, families }: PortsOfPod, holder: Holder): void {
    for (const port of hostPorts) {
      for (const place of placesOf(port, families))
        this.#claims.set(place, [...(this.#claims.get(place) ?? []), { hostIP: port.hostIP, holder }]);
    }
  }

  release({ hostPorts, families }: PortsOfPod, holder: Holder): void {
    for (const place of hostPorts.flatMap(port => placesOf(port, families))) {
      const left = this.#claims.get(place)?.filter(claim => claim.holder !== holder) ?? [];
      if (left.length === 0) this.#claims.delete(place);
      else this.#claims.set(place, left);
    }
  }
}

/** A port without an address is in each family of the pod; one with an address in that one's, if the pod has it. */
function placesOf({ protocol, hostPort, hostIP }: HostPort, families: ReadonlySet<IPFamily>): readonly string[] {
  const own = [...families].filter(family => hostIP === '' || ipFamily(hostIP) === family);
  return own.map(family => `${family}/${protocol}/${hostPort}`);
}

/** Of one family. As the scheduler sees it (k8s.io/kubernetes/pkg/scheduler/framework HostPortInfo), every address meets each of them. */
function doMeet(a: string, b: string): boolean {
  return a === b || isEvery(a) || isEvery(b);
}

const isEvery = (hostIP: string) => hostIP === '' || isUnspecified(hostIP);

function taken({ hostIP, hostPort, protocol }: HostPort, reason: string): CniError {
  const address = hostIP === '' ? '' : `${hostIP.includes(':') ? `[${hostIP}]` : hostIP}:`;
  return new CniError(CODE.portTaken, `hostPort ${address}${hostPort}/${protocol} ${reason}`);
}
