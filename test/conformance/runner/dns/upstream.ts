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
  const { found, hasName } = lookedUp(records, `${question?.name ?? ''}.`, question?.type ?? '');
  const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | (isTruncated ? packet.TRUNCATED_RESPONSE : 0);
  return encoded({
    type: 'response',
    id,
    flags: flags | (hasName ? 0 : 3),
    questions,
    answers: found.map(({ name, type, ttl, rdata }) => ({
      name: name.replace(/\.$/, ''),
      type,
      ttl: ttl ?? 0,
      data: dataOf(type, rdata),
    })),
  });
}

/** Over CNAMEs, to the end of the chain: the last name is the one that may be missing. */
function lookedUp(records: readonly VectorRecord[], name: string, type: string) {
  const found: VectorRecord[] = [];
  const seen = new Set<string>();
  for (let at = name.toLowerCase(); ; ) {
    const ofName = records.filter(record => record.name.toLowerCase() === at);
    const wanted = ofName.filter(record => record.type === type);
    const alias = wanted.length > 0 ? undefined : ofName.find(record => record.type === 'CNAME');
    seen.add(at);
    if (alias === undefined) return { found: [...found, ...wanted], hasName: ofName.length > 0 };
    found.push(alias);
    at = alias.rdata.toLowerCase();
    if (seen.has(at)) return { found, hasName: true };
  }
}

/** From presentation form to what dns-packet takes. @throws TypeError for a type that isn't known here */
export function dataOf(type: string, rdata: string): unknown {
  const fields = rdata.trim().split(/\s+/);
  const host = (text = '') => text.replace(/\.$/, '') || '.';
  const number = (at: number) => Number(fields[at]);
  switch (type) {
    case 'MX':
      return { preference: number(0), exchange: host(fields[1]) };
    case 'SRV':
      return { priority: number(0), weight: number(1), port: number(2), target: host(fields[3]) };
    case 'SOA': {
      const [serial, refresh, retry, expire, minimum] = [2, 3, 4, 5, 6].map(number);
      return { mname: host(fields[0]), rname: host(fields[1]), serial, refresh, retry, expire, minimum };
    }
    case 'CAA':
      return { flags: number(0), tag: fields[1], value: fields.slice(2).join(' ').replace(/^"|"$/g, '') };
    case 'TXT':
      return [...rdata.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, plain]) =>
        (quoted ?? plain ?? '').replace(/\\(.)/g, '$1'),
      );
    case 'A':
    case 'AAAA':
      return rdata;
    case 'CNAME':
    case 'DNAME':
    case 'NS':
    case 'PTR':
      return host(rdata);
    default:
      throw new TypeError(`the upstream server of this runner has no records of type ${type}`);
  }
}
