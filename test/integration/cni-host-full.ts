/** Listens at the path given, with room for one, and accepts nobody until a byte comes on its standard input; then answers everybody. */
import { readSync } from 'node:fs';
import { createServer } from 'node:net';

const server = createServer(socket => {
  socket.on('error', () => socket.destroy());
  socket.on('data', () => socket.end('late\n'));
});
server.listen({ path: process.argv[2], backlog: 1 }, () => {
  process.stdout.write('listening\n');
  readSync(0, Buffer.alloc(1));
  process.stdin.on('end', () => process.exit()).resume();
});
