/** A resolver on 127.0.0.1 that answers by UDP and TCP at one port, as the test says, or fails as real ones do. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type Answer, type DecodedPacket, decode, encode, type Packet } from 'dns-packet';

export interface Asked {
  readonly name: string;
  readonly type: string;
  readonly transport: 'udp' | 'tcp';
  /** The client's. */
  readonly port: number;
  readonly id: number;
  readonly packet: DecodedPacket;
}

/** Messages to send, one behind the other; none = silence; `close` = the end of a connection. */
type Says = readonly Buffer[] | 'close';
export type Behaviour = (asked: Asked) => Says | Promise<Says>;

export class NameServer implements AsyncDisposable {
  readonly asked: Asked[] = [];
  behaviour: Behaviour;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #isClosed = false;

  private constructor(behaviour: Behaviour) {
    this.behaviour = behaviour;
    this.#udp = createSocket('udp4');
    this.#tcp = createServer(socket => this.#serve(socket));
    this.#udp.on('message', (bytes, { port, address }) => {
      void this.#say(bytes, 'udp', port).then(says => {
        if (says !== 'close' && !this.#isClosed) for (const message of says) this.#udp.send(message, port, address);
      });
    });
  }

  static async open(behaviour: Behaviour): Promise<NameServer> {
    for (;;) {
      const server = new NameServer(behaviour);
      server.#udp.bind(0, '127.0.0.1');
      await once(server.#udp, 'listening');
      server.#tcp.listen(server.port, '127.0.0.1');
      try {
        await once(server.#tcp, 'listening');
        return server;
      } catch {
        // Somebody has the port for TCP: another one is tried.
        server.#udp.close();
      }
    }
  }

  get port(): number {
    return this.#udp.address().port;
  }

  get place(): { readonly address: string; readonly port: number } {
    return { address: '127.0.0.1', port: this.port };
  }

  /** Names that were asked for, but for those that look for a loop. */
  get names(): readonly string[] {
    return this.asked.map(({ name }) => name).filter(name => !name.endsWith('.kproxy-ts'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    for (const socket of this.#connections) socket.destroy();
    this.#udp.close();
    this.#tcp.close();
    await Promise.all([once(this.#udp, 'close'), once(this.#tcp, 'close')]);
  }

  async #say(bytes: Buffer, transport: 'udp' | 'tcp', port: number): Promise<Says> {
    const packet = decode(bytes);
    const [{ name, type } = { name: '', type: '' }] = packet.questions ?? [];
    const asked = { name, type, transport, port, id: packet.id ?? 0, packet };
    this.asked.push(asked);
    return this.behaviour(asked);
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', () => socket.destroy());
    let rest = Buffer.alloc(0);
    socket.on('data', chunk => {
      rest = Buffer.concat([rest, chunk]);
      if (rest.length < 2 || rest.length < 2 + rest.readUInt16BE(0)) return;
      void this.#say(rest.subarray(2, 2 + rest.readUInt16BE(0)), 'tcp', socket.remotePort ?? 0).then(says => {
        if (says === 'close') socket.destroy();
        else for (const message of says) socket.write(Buffer.concat([uint16(message.length), message]));
      });
    });
  }
}

function uint16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255);
}

export interface Reply extends Packet {
  readonly rcode?: number;
  readonly isTruncated?: boolean;
}

/** The reply of a resolver to what it was asked. */
export function replyTo({ packet, id }: Asked, reply: Reply = {}): Buffer {
  const { rcode = 0, isTruncated = false, ...sections } = reply;
  // QR, RD, RA.
  const flags = 0x8180 | (isTruncated ? 0x0200 : 0) | rcode;
  const bytes = encode({ id, questions: packet.questions ?? [], ...sections, type: 'response', flags });
  bytes.writeUInt16BE(flags, 2);
  return bytes;
}

/** One that knows these records, and NXDOMAIN without SOA for any other name. */
export function knowing(records: readonly Answer[], more: Reply = {}): Behaviour {
  return asked => {
    const own = records.filter(record => record.name.toLowerCase() === asked.name.toLowerCase());
    const answers = own.filter(({ type }) => type === asked.type || type === 'CNAME');
    return [replyTo(asked, { answers, rcode: own.length === 0 ? 3 : 0, ...more })];
  };
}

export function silent(): Behaviour {
  return () => [];
}
