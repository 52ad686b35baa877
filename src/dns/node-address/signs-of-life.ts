import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type IPFamily, ipFamily } from '../../net/ip.ts';
import type { ServedAddress, WatchedAddress } from './tables.ts';
import { NodeAddressError } from './transaction.ts';

const SIGN = Buffer.of(0);

/**
 * The sockets by which a process tells the kernel's rules that its server answers: a packet to itself, which a rule takes for that. It costs no transaction of
 * nf_tables, which other programs, and our own iptables mode, would have to look into.
 */
export class SignsOfLife implements AsyncDisposable {
  readonly #sockets = new Map<string, Socket>();
  #last: Promise<unknown> = Promise.resolve();

  /** Has a socket at each address of a family, and no others. The addresses are this node's already. @throws NodeAddressError */
  async follow(family: IPFamily, addresses: readonly ServedAddress[]): Promise<readonly WatchedAddress[]> {
    const wanted = new Set(addresses.map(({ ip }) => ip));
    for (const ip of [...this.#sockets.keys()]) {
      if (ipFamily(ip) === family && !wanted.has(ip)) await this.#close(ip);
    }
    for (const ip of wanted) {
      if (!this.#sockets.has(ip)) this.#sockets.set(ip, await open(ip));
    }
    return addresses.map(address => ({ ...address, beatPort: this.#sockets.get(address.ip)!.address().port }));
  }

  /** Resolves once the rules have seen it. @throws NodeAddressError */
  give(): Promise<void> {
    const sent = Promise.all([...this.#sockets].map(([ip, socket]) => send(socket, ip))).then(() => undefined);
    this.#last = sent.catch(() => undefined);
    return sent;
  }

  /** Resolves when no sign is under way. */
  async given(): Promise<void> {
    await this.#last;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const ip of [...this.#sockets.keys()]) await this.#close(ip);
  }

  async #close(ip: string): Promise<void> {
    const socket = this.#sockets.get(ip);
    this.#sockets.delete(ip);
    if (socket === undefined) return;
    const closed = once(socket, 'close');
    socket.close();
    await closed;
  }
}

/** A port of its own; what comes there is nothing new. */
async function open(ip: string): Promise<Socket> {
  const socket = createSocket(ipFamily(ip) === 'IPv6' ? 'udp6' : 'udp4');
  try {
    const bound = once(socket, 'listening');
    socket.bind({ address: ip, port: 0, exclusive: true });
    await bound;
  } catch (cause) {
    socket.close();
    throw new NodeAddressError(`no socket at ${ip}: ${String(cause)}`, { cause });
  }
  socket.unref();
  // Only sending matters, and says itself what it fails of.
  socket.on('error', () => undefined);
  return socket;
}

function send(socket: Socket, ip: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.send(SIGN, socket.address().port, ip, error => {
    if (error === null || error === undefined) resolve();
    else reject(new NodeAddressError(`no sign of life at ${ip}: ${error.message}`, { cause: error }));
  });
  return promise;
}
