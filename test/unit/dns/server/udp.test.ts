import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { noSockets, type Respond, UdpServer } from '../../../../src/dns/server/udp.ts';
import { freePort } from '../../../fakes/free-port.ts';
import { startFlood } from './flood.ts';

const ADDRESS = '127.0.0.1';

async function open(port: number, respond: Respond): Promise<UdpServer> {
  return UdpServer.open({ address: ADDRESS, port, respond, counts: noSockets(), sharesPort: true });
}

async function client(port: number): Promise<Socket & AsyncDisposable> {
  const socket = createSocket('udp4');
  socket.connect(port, ADDRESS);
  await once(socket, 'connect');
  return socket as Socket & AsyncDisposable;
}

/** Answers `late…` when told to, anything else at once. */
function lateResponder(): { readonly respond: Respond; readonly answer: (message: string) => void } {
  const waiting = new Map<string, (answer: Buffer) => void>();
  return {
    respond: message => {
      const text = String(message);
      if (!text.startsWith('late')) return Buffer.from(text);
      return new Promise(resolve => waiting.set(text, resolve));
    },
    answer: message => waiting.get(message)?.(Buffer.from(message)),
  };
}

describe('a socket that closes while another has its port', () => {
  test('loses nothing of a flood, again and again', async () => {
    const port = await freePort();
    let count = 0;
    const respond: Respond = message => {
      count += 1;
      const answer = Buffer.from(message);
      return count % 20 === 0 ? delay(count % 60, answer) : answer;
    };
    await using stays = await open(port, respond);
    const flood = await startFlood({ port, sockets: 200, burst: 10, pauseMs: 1 });
    const until = performance.now() + 1000;
    while (performance.now() < until) {
      const closing = await open(stays.port, respond);
      await delay(5);
      await closing[Symbol.asyncDispose]();
    }
    const { asked, answered } = await flood.stop();
    expect(asked).toBeGreaterThan(1000);
    expect(asked - answered).toBe(0);
  });
});

test('a socket that is alone answers what was asked before it closes', async () => {
  const port = await freePort();
  const late = lateResponder();
  const closing = await open(port, late.respond);
  await using socket = await client(port);
  const answers: string[] = [];
  socket.on('message', answer => answers.push(String(answer)));
  socket.send('late 1');
  for (let i = 0; i < 50; i += 1) socket.send(`question ${i}`);
  await once(socket, 'message');
  const closed = closing[Symbol.asyncDispose]();
  late.answer('late 1');
  await closed;
  await expect.poll(() => answers.length).toBe(51);
});
