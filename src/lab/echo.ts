/**
 * What a lab pod runs: answers TCP, UDP and HTTP on one port with a JSON line that says who answered whom.
 * A TCP client's first line gets that answer, every further line comes back as it is, and the connection stays open; in a datagram too,
 * the lines behind the first come back.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';

export interface Identity {
  readonly pod: string;
  readonly node: string;
  readonly ip: string;
}

export interface Answer extends Identity {
  readonly clientIP: string;
  readonly clientPort: number;
}

/** Listens on TCP and UDP, IPv4 and (where the kernel has it) IPv6; resolves when both are open. @throws when the port is taken. */
export async function startEcho(identity: Identity, port: number): Promise<{ tcp: Server; udp: UdpSocket }> {
  const tcp = createServer(socket => serve(socket, identity));
  const hasIPv6 = existsSync('/proc/net/if_inet6');
  const udp = createSocket(hasIPv6 ? 'udp6' : 'udp4'); // udp6 bound to :: hears IPv4 too
  answerDatagrams(udp, identity);
  tcp.listen({ port, backlog: 4096, host: hasIPv6 ? '::' : '0.0.0.0' });
  udp.bind(port);
  await Promise.all([once(tcp, 'listening'), once(udp, 'listening')]);
  return { tcp, udp };
}

/** Answers what comes to a UDP socket. */
export function answerDatagrams(udp: UdpSocket, identity: Identity): void {
  udp.on('message', (message, from) => {
    const end = message.indexOf('\n');
    const rest = end < 0 ? '' : message.subarray(end + 1);
    udp.send([answerLine(identity, from.address, from.port), rest], from.port, from.address);
  });
}

/** Answers one TCP connection. */
export function serve(socket: Socket, identity: Identity): void {
  const answer = answerLine(identity, socket.remoteAddress ?? '', socket.remotePort ?? 0);
  let pending = '';
  let isFirst = true;
  socket.setNoDelay(true);
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy()); // a client that went away is no matter
  socket.on('data', (chunk: string) => {
    pending += chunk;
    if (isFirst && isHttp(pending)) {
      if (pending.includes('\r\n\r\n')) socket.end(httpResponse(answer, pending.startsWith('HEAD')));
      return;
    }
    const lines = pending.split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      socket.write(isFirst ? answer : `${line}\n`);
      isFirst = false;
    }
  });
}

function isHttp(text: string): boolean {
  return /^(GET|HEAD) [^\r\n]* HTTP\/1\.[01]\r\n/.test(text);
}

function httpResponse(body: string, isHead: boolean): string {
  const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`;
  return isHead ? head : head + body;
}

function answerLine(identity: Identity, address: string, clientPort: number): string {
  const answer: Answer = { ...identity, clientIP: address.replace(/^::ffff:/, ''), clientPort };
  return `${JSON.stringify(answer)}\n`;
}
