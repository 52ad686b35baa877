/** Any bytes to a real NodeDns, by UDP and TCP. `DNS_FUZZ=1000000` is the long form, which says how much memory it took. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { readMessage } from '../../../../src/dns/wire/message.ts';
import { service, slice, sliceEndpoint } from '../../../fakes/objects.ts';
import { asking } from '../engine-lab.ts';
import { mutated, randomFrom } from '../mutated-packets.ts';
import { NodeDnsLab, WEB } from './node-dns-lab.ts';

const PACKETS = Number(process.env.DNS_FUZZ ?? 5000);
const isLong = process.env.DNS_FUZZ !== undefined;
const SEED = Number(process.env.DNS_FUZZ_SEED ?? 1);
const BATCH = 50;
/** The question after each batch: once it is answered, so is what came before it. */
const LAST_ID = 0xffff;
const MOST_UDP_BYTES = 4096;
/** Garbage that waits for its collection, and the answers that are kept. */
const MOST_GROWTH_BYTES = 40 * 1024 * 1024;

const LAST = asking(WEB, 'A');
LAST.writeUInt16BE(LAST_ID, 0);

/** Messages whose ids are their numbers, but for those that have none. */
function batchOf(random: ReturnType<typeof randomFrom>): readonly Buffer[] {
  return Array.from({ length: BATCH }, (_, id) => {
    const message = Buffer.from(mutated(random));
    if (message.length >= 2) message.writeUInt16BE(id, 0);
    return message;
  });
}

function check(answer: Buffer, batch: readonly Buffer[], mostBytes: number): void {
  const id = answer.readUInt16BE(0);
  const question = (batch[id] ?? Buffer.alloc(0)).toString('hex');
  if (batch[id] === undefined) expect.fail(`an answer to nothing: ${answer.toString('hex')}`);
  if (answer.length > mostBytes) expect.fail(`${answer.length} bytes to ${question}`);
  const isHeader = answer.length === 12 && answer.readUInt16BE(4) === 0;
  if (!isHeader && readMessage(answer) === undefined) expect.fail(`unreadable, to ${question}`);
  if ((answer[2]! & 0x80) === 0) expect.fail(`a question, to ${question}`);
}

type Answers = AsyncIterable<Buffer> | Iterable<Buffer>;

/** Reads answers until that to the last question, which must be right; how many there were before. */
async function takeBatch(answers: AsyncIterator<Buffer>, batch: readonly Buffer[], mostBytes: number): Promise<number> {
  for (let count = 0; ; count += 1) {
    const { value: answer, done } = await answers.next();
    if (done === true) expect.fail('no more answers');
    if (answer.readUInt16BE(0) === LAST_ID) {
      expect([answer[3]! & 15, answer.readUInt16BE(6)]).toEqual([0, 1]);
      return count;
    }
    check(answer, batch, mostBytes);
  }
}

async function* datagrams(socket: ReturnType<typeof createSocket>): AsyncGenerator<Buffer, undefined> {
  const waiting: Buffer[] = [];
  socket.on('message', message => waiting.push(message));
  for (;;) {
    const next = waiting.shift();
    if (next === undefined) await once(socket, 'message', { signal: AbortSignal.timeout(5000) });
    else yield next;
  }
}

async function* messages(stream: Answers): AsyncGenerator<Buffer, undefined> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stream) {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      const end = 2 + bytes.readUInt16BE(0);
      yield bytes.subarray(2, end);
      bytes = bytes.subarray(end);
    }
  }
}

async function fuzzUdp(port: number, packets: number): Promise<number> {
  const random = randomFrom(SEED);
  let answered = 0;
  for (let sent = 0; sent < packets; sent += BATCH * 20) {
    // Other sockets come to other workers.
    const socket = createSocket('udp4');
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const answers = datagrams(socket);
    for (let i = 0; i < 20; i += 1) {
      const batch = batchOf(random);
      for (const message of [...batch, LAST]) socket.send(message);
      answered += await takeBatch(answers, batch, MOST_UDP_BYTES);
    }
    socket.close();
  }
  return answered;
}

async function fuzzTcp(port: number, packets: number): Promise<number> {
  const random = randomFrom(SEED + 1);
  const socket = connect({ host: '127.0.0.1', port });
  const answers = messages(socket);
  let answered = 0;
  for (let sent = 0; sent < packets; sent += BATCH) {
    const batch = batchOf(random);
    const bytes = [...batch, LAST].map(message =>
      Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message]),
    );
    socket.write(Buffer.concat(bytes));
    answered += await takeBatch(answers, batch, 65_535);
  }
  socket.destroy();
  return answered;
}

function fill(lab: NodeDnsLab): void {
  const addresses = Array.from({ length: 100 }, (_, i) => sliceEndpoint(`10.244.9.${i}`));
  lab.store.upsert('Service', service({ name: 'db', clusterIPs: [], isHeadless: true }));
  lab.store.upsert('EndpointSlice', slice({ name: 'db-1', serviceName: 'db', isHeadless: true, endpoints: addresses }));
}

describe(`${PACKETS} mutated packets to a real server`, () => {
  it('get nothing, or a message of theirs, and others are answered as ever', { timeout: 1_200_000 }, async () => {
    await using lab = await NodeDnsLab.startSynced({ workers: 2, pods: 'insecure' });
    fill(lab);
    const warm = await fuzzUdp(lab.port, Math.min(PACKETS, 1000));
    const before = await heapBytes(lab);
    const byUdp = await fuzzUdp(lab.port, Math.ceil(PACKETS * 0.8));
    const byTcp = await fuzzTcp(lab.port, Math.ceil(PACKETS * 0.2));
    const after = await heapBytes(lab);
    if (isLong) console.log(`the workers' heaps: ${before} bytes before, ${after} after ${PACKETS} packets`);
    // Most of them have to come as far as an answer, or nothing was tried.
    expect(warm + byUdp + byTcp).toBeGreaterThan(PACKETS / 3);
    expect(after - before).toBeLessThan(MOST_GROWTH_BYTES);
    expect(await lab.ask(WEB)).toBe('10.96.0.10');
    expect(lab.workers).toHaveLength(2);
    expect(lab.logged.count(/please report/)).toBe(0);
  });
});

async function heapBytes({ workers }: NodeDnsLab): Promise<number> {
  const all = await Promise.all(workers.map(worker => worker.getHeapStatistics()));
  return all.reduce((sum, { used_heap_size: bytes }) => sum + bytes, 0);
}
