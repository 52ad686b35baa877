import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { TcpServer } from '../../../../src/dns/server/tcp.ts';
import { noSockets, type Respond } from '../../../../src/dns/server/udp.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each[Symbol.asyncDispose]();
});

async function connected(respond: Respond): Promise<{ readonly server: TcpServer; readonly client: Socket }> {
  const server = await TcpServer.open({
    address: '127.0.0.1',
    port: 0,
    respond,
    counts: noSockets(),
    sharesPort: true,
  });
  open.push(server);
  const client = connect(server.port, '127.0.0.1');
  await once(client, 'connect');
  return { server, client };
}

const framed = (text: string) => Buffer.concat([Buffer.of(0, text.length), Buffer.from(text)]);

/** Messages as they come, until there are so many or the connection ends. */
async function heard(client: Socket, count: number): Promise<string[]> {
  const texts: string[] = [];
  let bytes = Buffer.alloc(0);
  for await (const chunk of client) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    for (
      ;
      bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0);
      bytes = bytes.subarray(2 + bytes.readUInt16BE(0))
    )
      texts.push(bytes.toString('latin1', 2, 2 + bytes.readUInt16BE(0)));
    if (texts.length >= count) break;
  }
  return texts;
}

describe('a connection', () => {
  it('has many questions under way, and they are answered as answers come', async () => {
    const late = new Map<string, (answer: Buffer) => void>();
    const { client } = await connected(message => {
      const text = message.toString();
      return text === 'late' ? new Promise(resolve => late.set(text, resolve)) : Buffer.from(text);
    });
    const early = Array.from({ length: 150 }, (_, i) => `q${i}`);
    client.write(Buffer.concat([framed('late'), ...early.map(framed)]));
    const all = heard(client, 151);
    while (!late.has('late') || client.bytesRead < 500) await new Promise(resolve => setImmediate(resolve));
    late.get('late')?.(Buffer.from('late'));
    expect(await all).toEqual([...early, 'late']);
  });

  it('may bring a question in pieces', async () => {
    const { client } = await connected(message => message);
    const bytes = framed('question');
    for (const byte of bytes) {
      client.write(Buffer.of(byte));
      await new Promise(resolve => setImmediate(resolve));
    }
    expect(await heard(client, 1)).toEqual(['question']);
  });

  it('that has a question under way is answered before the server closes; others end at once', async () => {
    const answer = Promise.withResolvers<Buffer>();
    const asked = Promise.withResolvers<void>();
    const { server, client } = await connected(() => {
      asked.resolve();
      return answer.promise;
    });
    const idle = connect(server.port, '127.0.0.1').resume();
    await once(idle, 'connect');
    client.write(framed('question'));
    await asked.promise;
    const idleEnd = once(idle, 'end');
    const closed = server[Symbol.asyncDispose]();
    await idleEnd;
    answer.resolve(Buffer.from('answer'));
    expect(await heard(client, 2)).toEqual(['answer']);
    await closed;
    open.length = 0;
  });
});
