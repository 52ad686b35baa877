/** minimal.ts PORT: the least that a UDP responder in Node can do: the question back with one address. The limit that answers are measured against. */
import { createSocket } from 'node:dgram';

const ANSWER_BYTES = 16;
const socket = createSocket('udp4');
socket.on('message', (message, client) => {
  const out = Buffer.allocUnsafe(message.length + ANSWER_BYTES);
  message.copy(out);
  out[2] = 0x85;
  out[3] = 0;
  out[7] = 1;
  // A pointer to the question's name, A, IN, TTL 5, four bytes.
  out.set([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 96, 0, 1], message.length);
  socket.send(out, client.port, client.address);
});
socket.bind(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
