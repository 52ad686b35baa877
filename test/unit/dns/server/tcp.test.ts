import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { TcpServer } from '../../../../src/dns/server/tcp.ts';
import { noSockets, type Respond } from '../../../../src/dns/server/udp.ts';

const echo: Respond = message => Buffer.from(message);

/** Of the server that was opened last. */
let counts = noSockets();

function open(respond: Respond, idleMs?: number): Promise<TcpServer> {
  counts = noSockets();
  const options = { address: '127.0.0.1', port: 0, respond, counts, sharesPort: false };
  return TcpServer.open(idleMs === undefined ? options : { ...options, idleMs });
}

function framed(text: string | Buffer): Buffer {
  const message = Buffer.from(text);
  return Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message]);
}

/** A connection, and the messages that have come by it. */
class TestClient implements Disposable {
  readonly socket: Socket;
  #bytes = Buffer.alloc(0);
  readonly messages: Buffer[] = [];
  readonly closed: Promise<unknown>;

  constructor({ port }: TcpServer, localAddress = '127.0.0.1') {
    this.socket = connect({ host: '127.0.0.1', port, localAddress });
    this.closed = new Promise(resolve => this.socket.on('close', resolve));
    this.socket.on('error', () => this.socket.destroy());
    this.socket.on('data', chunk => this.#read(chunk));
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 2 && this.#bytes.length >= 2 + this.#bytes.readUInt16BE(0)) {
      const end = 2 + this.#bytes.readUInt16BE(0);
      this.messages.push(this.#bytes.subarray(2, end));
      this.#bytes = this.#bytes.subarray(end);
    }
  }

  /** Resolves with as many messages. */
  async received(count: number): Promise<readonly string[]> {
    await expect.poll(() => this.messages.length, { timeout: 5000 }).toBe(count);
    return this.messages.map(String);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

describe('a connection', () => {
  test('takes a message that comes byte by byte', async () => {
    await using server = await open(echo);
    using client = new TestClient(server);
    client.socket.setNoDelay(true);
    for (const byte of framed('slowly')) {
      client.socket.write(Buffer.of(byte));
      await delay(1);
    }
    expect(await client.received(1)).toEqual(['slowly']);
  });

  test('that brings bytes but never a question ends when its time is over', async () => {
    await using server = await open(echo, 100);
    using client = new TestClient(server);
    client.socket.write(Buffer.of(0xff, 0xff));
    const drip = setInterval(() => client.socket.write('x'), 20);
    await client.closed;
    clearInterval(drip);
    expect(client.messages).toEqual([]);
  });

  test('that asks now and then stays', async () => {
    await using server = await open(echo, 200);
    using client = new TestClient(server);
    for (let i = 0; i < 4; i += 1) {
      client.socket.write(framed(String(i)));
      await delay(100);
    }
    expect(await client.received(4)).toEqual(['0', '1', '2', '3']);
    expect(client.socket.readyState).toBe('open');
  });

  test('answers no empty messages, and what follows them', async () => {
    await using server = await open(message => (message.length === 0 ? undefined : Buffer.from(message)));
    using client = new TestClient(server);
    client.socket.write(Buffer.concat([Buffer.alloc(2000), framed('web')]));
    expect(await client.received(1)).toEqual(['web']);
  });

  test('has no more questions under way than there may be, however many come in one piece', async () => {
    let underWay = 0;
    let most = 0;
    await using server = await open(async message => {
      underWay += 1;
      most = Math.max(most, underWay);
      await delay(1);
      underWay -= 1;
      return Buffer.from(message);
    });
    using client = new TestClient(server);
    const questions = Array.from({ length: 1000 }, (_, i) => framed(`question ${i}`));
    client.socket.write(Buffer.concat(questions));
    const answers = await client.received(1000);
    expect(new Set(answers).size).toBe(1000);
    expect(most).toBe(100);
  });

  test('answers other questions while some wait', async () => {
    const gate = Promise.withResolvers<Buffer>();
    await using server = await open(message => (String(message) === 'late' ? gate.promise : Buffer.from(message)));
    using client = new TestClient(server);
    client.socket.write(Buffer.concat(['late', 'a', 'b'].map(framed)));
    expect(await client.received(2)).toEqual(['a', 'b']);
    gate.resolve(Buffer.from('late'));
    expect(await client.received(3)).toEqual(['a', 'b', 'late']);
  });

  test('brings all answers to a client that asked for many large ones at once, and reads them', async () => {
    const large = Buffer.alloc(60_000, 7);
    await using server = await open(() => large);
    using client = new TestClient(server);
    client.socket.write(Buffer.concat(Array.from({ length: 100 }, () => framed('large'))));
    expect((await client.received(100)).every(({ length }) => length === large.length)).toBe(true);
  });

  test('of a client that never reads ends, and few answers are made for it', async () => {
    let answered = 0;
    await using server = await open(() => {
      answered += 1;
      return Buffer.alloc(60_000, 7);
    }, 200);
    const socket = connect({ host: '127.0.0.1', port: server.port });
    socket.on('error', () => socket.destroy());
    socket.pause();
    socket.write(Buffer.concat(Array.from({ length: 5000 }, () => framed('large'))));
    await expect.poll(() => counts.connections).toBe(1);
    await expect.poll(() => counts.connections, { timeout: 3000 }).toBe(0);
    // 1 MiB, and what the kernel's buffers take.
    expect(answered).toBeLessThan(400);
    socket.destroy();
  });

  test('that is half closed gets the answers that are under way', async () => {
    await using server = await open(message => delay(50, Buffer.from(message)));
    using client = new TestClient(server);
    client.socket.end(framed('the last'));
    expect(await client.received(1)).toEqual(['the last']);
    await client.closed;
  });
});

test('clients that do not read have a bounded share of memory, and those that do are answered', {
  timeout: 20_000,
}, async () => {
  const large = Buffer.alloc(60_000, 7);
  await using server = await open(message => (String(message) === 'web' ? Buffer.from(message) : large));
  const lazy = Array.from({ length: 200 }, (_, i) =>
    connect({ port: server.port, host: '127.0.0.1', localAddress: `127.0.0.${10 + (i % 10)}` }),
  );
  const questions = Buffer.concat(Array.from({ length: 200 }, () => framed('large')));
  for (const socket of lazy) {
    socket.on('error', () => socket.destroy());
    socket.pause();
    socket.write(questions);
  }
  let most = 0;
  const watching = setInterval(() => {
    most = Math.max(most, counts.unsentBytes);
  }, 5);
  // Of 2.4 GB that were asked for.
  await expect.poll(() => counts.unsentBytes).toBeGreaterThan(16 * 1024 * 1024);
  using reader = new TestClient(server, '127.0.0.99');
  reader.socket.write(Buffer.concat(Array.from({ length: 50 }, () => framed('large'))));
  expect(await reader.received(50)).toHaveLength(50);
  clearInterval(watching);
  expect(most).toBeLessThan(16 * 1024 * 1024 + 200 * 2 * 60_002 + 256 * 1024);
  for (const socket of lazy) socket.destroy();
  await expect.poll(() => counts).toMatchObject({ connections: 1, unsentBytes: 0 });
});

describe('a server that closes', () => {
  test('answers what had come, and what was just under way', async () => {
    const gate = Promise.withResolvers<Buffer>();
    const server = await open(message => (String(message) === 'late' ? gate.promise : Buffer.from(message)));
    using waiting = new TestClient(server);
    using fresh = new TestClient(server);
    waiting.socket.write(framed('late'));
    await expect.poll(() => counts.connections).toBe(2);
    const closed = server[Symbol.asyncDispose]();
    await delay(20);
    fresh.socket.write(framed('just'));
    expect(await fresh.received(1)).toEqual(['just']);
    gate.resolve(Buffer.from('late'));
    expect(await waiting.received(1)).toEqual(['late']);
    await closed;
  });

  test('waits for nobody who has nothing to ask', async () => {
    const server = await open(echo);
    using idle = new TestClient(server);
    idle.socket.write(framed('a'));
    await idle.received(1);
    const startedAt = performance.now();
    await server[Symbol.asyncDispose]();
    expect(performance.now() - startedAt).toBeLessThan(1000);
  });
});

test('a connection is not idle while an answer is under way, and is when it has come', async () => {
  const slow: Respond = message => delay(150).then(() => Buffer.from(message));
  await using server = await open(slow, 50);
  using client = new TestClient(server);
  client.socket.write(framed('web'));
  expect(await client.received(1)).toEqual(['web']);
  await client.closed;
});

test('1000 connections of ten clients are answered, and one more is closed', { timeout: 20_000 }, async () => {
  await using server = await open(echo);
  const clients = Array.from({ length: 1000 }, (_, i) => new TestClient(server, `127.0.0.${10 + (i % 10)}`));
  await expect.poll(() => counts.connections, { timeout: 10_000 }).toBe(1000);
  for (const { socket } of clients) socket.write(framed('web'));
  await expect.poll(() => clients.every(({ messages }) => messages.length === 1), { timeout: 10_000 }).toBe(true);
  using late = new TestClient(server);
  await late.closed;
  expect(counts.turnedAway).toBe(1);
  for (const client of clients) client[Symbol.dispose]();
});

test('one client cannot have all connections', { timeout: 20_000 }, async () => {
  await using server = await open(echo);
  const greedy = Array.from({ length: 150 }, () => new TestClient(server, '127.0.0.10'));
  await expect.poll(() => counts, { timeout: 10_000 }).toMatchObject({ connections: 100, turnedAway: 50 });
  using other = new TestClient(server, '127.0.0.11');
  other.socket.write(framed('web'));
  await expect.poll(() => other.messages.length).toBe(1);
  for (const client of greedy) client[Symbol.dispose]();
  await expect.poll(() => counts.connections, { timeout: 10_000 }).toBe(1);
  using again = new TestClient(server, '127.0.0.10');
  again.socket.write(framed('web'));
  await expect.poll(() => again.messages.length).toBe(1);
});
