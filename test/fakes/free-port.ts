import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

/** Below those that outgoing connections get. */
const PORTS = { from: 20_000, count: 10_000 };

/** A port of 127.0.0.1 that nobody has at this moment, for UDP and TCP. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.from + Math.floor(Math.random() * PORTS.count);
    if (
      (await isFree(createSocket('udp4').bind(port, '127.0.0.1'))) &&
      (await isFree(createServer().listen(port, '127.0.0.1')))
    )
      return port;
  }
}

async function isFree(socket: Socket | Server): Promise<boolean> {
  try {
    await once(socket, 'listening');
  } catch {
    return false; // somebody has it
  }
  socket.close();
  await once(socket, 'close');
  return true;
}
