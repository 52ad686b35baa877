/** The resolver of a suite: knows some records, by UDP and TCP at one port of 127.0.0.1; any other name is NXDOMAIN. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import packet from 'dns-packet';
import { encoded } from './ask.ts';
import type { SuiteOptions, VectorRecord } from './suite.ts';

export interface Upstream extends AsyncDisposable {
  readonly port: number;
}

export async function startUpstream({
  records,
  truncated = false,
}: NonNullable<SuiteOptions['upstream']>): Promise<Upstream> {
  const answer = (question: Buffer) => answerTo(question, records, truncated);
  const server = createServer(socket => {
    let bytes = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('data', chunk => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length < 2 || bytes.length < 2 + bytes.readUInt16BE(0)) return;
      const reply = answer(bytes.subarray(2));
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.end(Buffer.concat([length, reply]));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = await udpSocket(port);
  socket.on('message', (question, { address, port: client }) => socket.send(answer(question), client, address));
  return {
    port,
    async [Symbol.asyncDispose]() {
      socket.close();
      server.close();
      await once(server, 'close');
    },
  };
}

async function udpSocket(port: number): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(port, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

function answerTo(bytes: Buffer, records: readonly VectorRecord[], isTruncated: boolean): Buffer {
  const { id, questions = [] } = packet.decode(bytes);
  const [question] = questions;
  const ofName = records.filter(({ name }) => name.toLowerCase() === `${question?.name.toLowerCase() ?? ''}.`);
  const found = ofName.filter(({ type }) => type === question?.type);
  const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | (isTruncated ? packet.TRUNCATED_RESPONSE : 0);
  return encoded({
    type: 'response',
    id,
    flags: flags | (ofName.length === 0 ? 3 : 0),
    questions,
    answers: found.map(({ name, type, ttl, rdata }) => ({
      name: name.replace(/\.$/, ''),
      type,
      ttl: ttl ?? 0,
      data: rdata.replace(/\.$/, ''),
    })),
  });
}
