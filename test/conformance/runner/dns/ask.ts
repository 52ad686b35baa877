/** A client of DNS over real sockets, with another implementation's encoder and decoder. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import packet, { type Packet } from 'dns-packet';
import type { DnsCase } from './suite.ts';

export interface Where {
  readonly address: string;
  readonly port: number;
}

/** As dns-packet has it; what `data` is depends on the type. */
export interface DecodedRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number;
  readonly data: unknown;
  /** Of OPT. */
  readonly extendedRcode?: number;
  readonly udpPayloadSize?: number;
  readonly ednsVersion?: number;
  readonly flags?: number;
}

export interface Reply {
  readonly bytes: Buffer;
  readonly id: number;
  readonly isTruncated: boolean;
  readonly answers: readonly DecodedRecord[];
  readonly authorities: readonly DecodedRecord[];
  readonly additionals: readonly DecodedRecord[];
}

const PATIENCE_MS = 5000;
const DNSSEC_OK = 0x8000;

export async function ask(
  { qname, qtype, query = {} }: DnsCase,
  transport: 'udp' | 'tcp',
  server: Where,
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
  const question = encoded({
    type: 'query',
    id: 1 + Math.floor(Math.random() * 65_535),
    flags: query.rd === false ? 0 : packet.RECURSION_DESIRED,
    questions: [{ type: qtype, name: qname.replace(/\.$/, '') || '.', class: query.class ?? 'IN' }],
    additionals: edns === undefined ? [] : [opt],
  });
  const bytes = await (transport === 'tcp' ? byTcp : byUdp)(question, server);
  const { id, flag_tc: isTruncated, answers, authorities, additionals } = decodedReply(bytes);
  if (id !== question.readUInt16BE(0)) throw new Error(`an answer with another id: ${id}`);
  return { bytes, id, isTruncated, answers, authorities, additionals };
}

/** dns-packet takes more than its types say: any type of record, any class. */
export function encoded(message: object): Buffer {
  return packet.encode(message as Packet);
}

function decodedReply(bytes: Buffer): Omit<Reply, 'bytes' | 'isTruncated'> & { readonly flag_tc: boolean } {
  return packet.decode(bytes) as unknown as Reply & { readonly flag_tc: boolean };
}

async function byUdp(question: Buffer, { address, port }: Where): Promise<Buffer> {
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

async function byTcp(question: Buffer, { address, port }: Where): Promise<Buffer> {
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
