/** Programs of the node that listen where a pod's hostPort is. */
import { type Libc, loadLibc } from '../../linux/libc.ts';
import { type Listener, listeners } from '../../linux/listeners.ts';
import { ipFamily, isUnspecified } from '../../net/ip.ts';
import { type HostPort, hostPortText } from '../types.ts';

/** A listener that gets nothing more. */
export interface Shadowed {
  /** The hostPort, for people. */
  readonly text: string;
  /** Where the program listens: `0.0.0.0:80`. */
  readonly place: string;
}

export async function shadowedBy(hostPorts: readonly HostPort[]): Promise<readonly Shadowed[]> {
  if (hostPorts.length === 0) return [];
  const libc: Libc = await loadLibc();
  return shadowed(hostPorts, listeners(libc));
}

/** Pure. */
export function shadowed(hostPorts: readonly HostPort[], all: readonly Listener[]): readonly Shadowed[] {
  return hostPorts.flatMap(port =>
    all
      .filter(listener => listener.protocol === port.protocol && listener.port === port.hostPort)
      .filter(({ ip }) => doMeet(port.hostIP, ip))
      .map(({ ip }) => ({
        text: hostPortText(port),
        place: ip.includes(':') ? `[${ip}]:${port.hostPort}` : `${ip}:${port.hostPort}`,
      })),
  );
}

/** Who listens at `::` is taken to hear IPv4 too. */
function doMeet(hostIP: string, ip: string): boolean {
  if (hostIP === '' || hostIP === ip || ip === '::') return true;
  return ipFamily(hostIP) === ipFamily(ip) && (isUnspecified(hostIP) || isUnspecified(ip));
}
