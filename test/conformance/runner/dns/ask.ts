/** A client of DNS over real sockets, with another implementation's encoder and decoder. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import packet, { type DecodedPacket } from 'dns-packet';
import type { DnsCase } from './suite.ts';

export interface Server {
  readonly address: string;
  readonly port: number;
}

export interface Reply {
  readonly bytes: Buffer;
  readonly packet: DecodedPacket;
}

const PATIENCE_MS = 5000;
const DNSSEC_OK = 0x8000;

export async function ask(
  { qname, qtype, query = {} }: DnsCase,
  transport: 'udp' | 'tcp',
  server: Server,
): Promise<Reply> {
  const { edns } = query;
  const opt = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: edns?.udpSize ?? 512,
    flags: edns?.do === true ? DNSSEC_OK : 0,
    extendedRcode: 0,
    ednsVersion: edns?.version ?? 0,
    options: [],
  };
  const question = packet.encode({
    type: 'query',
    id: 1 + Math.floor(Math.random() * 65_535),
    flags: query.rd === false ? 0 : packet.RECURSION_DESIRED,
    questions: [{ type: qtype, name: qname.replace(/\.$/, '') || '.', class: query.class ?? 'IN' }],
    additionals: edns === undefined ? [] : [opt],
  });
  const bytes = await (transport === 'tcp' ? byTcp : byUdp)(question, server);
  const decoded = packet.decode(bytes);
  if (decoded.id !== question.readUInt16BE(0)) throw new Error(`an answer with another id: ${decoded.id}`);
  return { bytes, packet: decoded };
}

async function byUdp(question: Buffer, { address, port }: Server): Promise<Buffer> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  try {
    const answered = once(socket, 'message', { signal: AbortSignal.timeout(PATIENCE_MS) });
    socket.send(question, port, address);
    const [message] = (await answered) as [Buffer];
    return message;
  } finally {
    socket.close();
  }
}

async function byTcp(question: Buffer, { address, port }: Server): Promise<Buffer> {
  const socket = connect({ host: address, port, signal: AbortSignal.timeout(PATIENCE_MS) });
  try {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(question.length);
    socket.write(Buffer.concat([length, question]));
    let bytes = Buffer.alloc(0);
    for await (const chunk of socket) {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      if (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) return bytes.subarray(2);
    }
    throw new Error('the connection was closed without an answer');
  } finally {
    socket.destroy();
  }
}
