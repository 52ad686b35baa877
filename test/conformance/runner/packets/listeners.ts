/** Listeners that answer who they are and whom they saw. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { canonicalIP } from '../../../../src/net/ip.ts';
import type { Arrival, ListenParams } from './sockets.ts';

const canonical = (address = '') => canonicalIP(address) ?? address;

/** The listeners of one namespace; each `listen` opens what is missing. A TCP listener that isn't asked for any more is in nobody's way. */
export class Listeners {
  readonly #tcp = new Map<number, Server>();
  readonly #udp = new Map<string, UdpSocket>();
  #place = '';
  /** Datagrams that arrived since they were last asked for. */
  #datagrams: Arrival[] = [];

  async listen({ place, tcp, udp }: ListenParams): Promise<void> {
    this.#place = place;
    const wanted = new Map(udp.map(address => [`${address.ip} ${address.port}`, address]));
    for (const [key, socket] of this.#udp) {
      if (wanted.has(key)) continue;
      socket.close();
      this.#udp.delete(key);
    }
    const opening = tcp.filter(port => !this.#tcp.has(port)).map(port => this.#openTcp(port));
    const missing = [...wanted].filter(([key]) => !this.#udp.has(key));
    await Promise.all([...opening, ...missing.map(([key, { ip, port }]) => this.#openUdp(key, ip, port))]);
  }

  /** What arrived and may not have been answered: datagrams, and TCP connections that wait for the client's last word. */
  async arrivals(): Promise<readonly Arrival[]> {
    const datagrams = this.#datagrams;
    this.#datagrams = [];
    const tables = await Promise.all(['tcp', 'tcp6'].map(name => readFile(`/proc/net/${name}`, 'utf8')));
    return [...datagrams, ...tables.flatMap(table => halfOpen(table, this.#place))];
  }

  async #openTcp(port: number): Promise<void> {
    const server = createServer(socket => {
      socket.on('error', () => socket.destroy()); // a client that went away is no matter
      const { localAddress, localPort = 0, remoteAddress, remotePort = 0 } = socket;
      const ends = { ip: canonical(localAddress), seenIP: canonical(remoteAddress) };
      socket.end(`${JSON.stringify({ place: this.#place, ...ends, port: localPort, seenPort: remotePort })}\n`);
    });
    this.#tcp.set(port, server);
    server.listen({ port, host: '::', backlog: 1024 });
    await once(server, 'listening');
  }

  async #openUdp(key: string, ip: string, port: number): Promise<void> {
    const socket = ip.includes(':') ? createSocket({ type: 'udp6', ipv6Only: true }) : createSocket('udp4');
    socket.on('message', (_message, from) => {
      const arrival = { place: this.#place, ip, port, seenIP: canonical(from.address), seenPort: from.port };
      this.#datagrams.push(arrival);
      socket.send(JSON.stringify(arrival), from.port, from.address);
    });
    this.#udp.set(key, socket);
    socket.bind(port, ip);
    await once(socket, 'listening');
  }
}

const SYN_RECV = '03';

/** Connections in SYN_RECV of /proc/net/tcp or tcp6: their SYN arrived, the answer to it has had none yet. */
function halfOpen(table: string, place: string): Arrival[] {
  return table.split('\n').flatMap(line => {
    const [, local = '', remote = '', state] = line.trim().split(/\s+/);
    if (state !== SYN_RECV) return [];
    const [here, there] = [endOf(local), endOf(remote)];
    return [{ place, ip: here.ip, port: here.port, seenIP: there.ip, seenPort: there.port }];
  });
}

/** An end as the kernel prints it: 32-bit words in the order of the machine (little endian here), hexadecimal. */
function endOf(text: string): { ip: string; port: number } {
  const [address = '', port = ''] = text.split(':');
  const bytes = (address.match(/.{8}/g) ?? []).flatMap(word => (word.match(/../g) ?? []).toReversed());
  const ip =
    bytes.length === 4
      ? bytes.map(byte => Number.parseInt(byte, 16)).join('.')
      : (bytes.join('').match(/.{4}/g) ?? []).join(':');
  return { ip: canonical(ip), port: Number.parseInt(port, 16) };
}
